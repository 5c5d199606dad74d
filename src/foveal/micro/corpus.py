"""Stage 2 of pre-training, the data: short conversations that teach to see, to talk, to copy and to write simple code.

What the base model is taught, in full: where boards are and what colour, kind and content they have; reading the
number in a close view; repeating text; reading facts out of invented pages in its context, so that names must be
copied, not known; one-line Python; putting an answer, code or a thought between tags when the question asks for
them. What it is not taught: that anything runs its code, that there are searches, when to look closer, several steps
in a row. Real countries occur nowhere but as flags on boards, and those of the test split not even there.
"""

import random
import string
from collections.abc import Callable, Sequence
from typing import NamedTuple

from foveal.micro import facts, scenes
from foveal.micro.pool import Crop, Drawn, Views
from foveal.micro.questions import SYSTEM

THOUGHTS = ("Let me see.", "I know this.", "I can see it.", "That is easy.")


class Round(NamedTuple):
    """One question and its reply; a question may show views."""

    skill: str
    """What the round teaches, for the metrics."""
    asked: tuple[str | Views, ...]
    reply: str
    scene: Drawn | None = None
    """The scene that the question shows, for dense labels; None if it shows none or only close views."""
    numbers: tuple[int | None, ...] = ()
    """What the close views that the question shows carry, in order: a number, or None for a flag."""
    boards: tuple[scenes.Board, ...] = ()
    """Boards that the reply speaks of, one after the other with semicolons between; of the last scene shown."""


class Conversation(NamedTuple):
    """A pre-training example."""

    system: str
    rounds: tuple[Round, ...]


class Names:
    """Invents names that are spelled like the names of countries and capitals but are none of them.

    A character model of order 2 over the names of the training split; a share of plain random letters keeps every
    piece of the vocabulary in use.
    """

    def __init__(self) -> None:
        known = facts.split("train")
        self.following: dict[str, list[str]] = {}
        # Sorted: the order of a set of strings changes from process to process, and with it everything drawn from here.
        for word in sorted({w for c in known for name in (c.name, c.capital) for w in name.split()}):
            padded = f"^^{word}$"
            for i in range(len(padded) - 2):
                self.following.setdefault(padded[i : i + 2], []).append(padded[i + 2])

    def word(self, rng: random.Random) -> str:
        """One invented word, capitalised."""
        if rng.random() < 0.3:
            letters = rng.choices(string.ascii_lowercase, k=rng.randint(3, 9))
            return "".join(letters).capitalize()
        while True:
            state, out = "^^", ""
            while (letter := rng.choice(self.following[state])) != "$" and len(out) < 12:
                state, out = state[1] + letter, out + letter
            if len(out) > 2:
                return out[0].upper() + out[1:]

    def name(self, rng: random.Random) -> str:
        """An invented name of one to three words."""
        words = [self.word(rng) for _ in range(rng.choices((1, 2, 3), (7, 3, 1))[0])]
        return " ".join(words)

    def country(self, rng: random.Random) -> facts.Country:
        """An invented country."""
        population, area = (round(10 ** rng.uniform(2, 6)) for _ in range(2))
        continent = rng.choice(list(facts.CONTINENTS.values()))
        return facts.Country("xx", self.name(rng), self.name(rng), continent, population, area)


def invented(seed: str) -> tuple[facts.Country, ...]:
    """All countries under invented names, with invented capitals and changed figures; no name occurs twice, or really.

    Only the codes, and so the flags, are real: what is said about them can be read, but not known.
    """
    rng, names = random.Random(seed), Names()
    taken = {name for country in facts.countries() for name in (country.name, country.capital)}

    def name() -> str:
        while (made := names.name(rng)) in taken:
            continue
        taken.add(made)
        return made

    return tuple(
        country._replace(
            name=name(),
            capital=name(),
            population=max(1, round(country.population * rng.uniform(0.4, 2.5))),
            area=max(1, round(country.area * rng.uniform(0.4, 2.5))),
        )
        for country in facts.countries()
    )


def conversation(rng: random.Random, pool: Sequence[Drawn], names: Names) -> Conversation:
    """A conversation about one or two of: a scene, close views, text; in tags if its first message asks for them.

    A scene is always the first thing shown, behind the same system prompt: a model of this size learns where things
    lie within minutes if pictures of a scene stand at one place of the sequence, and hardly at all otherwise.
    """
    first = rng.choices((about_scene, about_crops, about_text), (50, 15, 35))[0]
    rounds = first(rng, rng.choice(pool), names)
    if rng.random() < 0.35:
        rounds += rng.choice((about_crops, about_text))(rng, rng.choice(pool), names)
    think, code, answer = (rng.random() < 0.35 for _ in range(3))
    thoughts = [f"<think>{rng.choice(THOUGHTS)}</think>\n" if think else "" for _ in rounds]
    marked = [r._replace(reply=t + _mark(r, code, answer)) for t, r in zip(thoughts, rounds, strict=True)]
    *shown, question = marked[0].asked
    marked[0] = marked[0]._replace(asked=(*shown, f"{question}{wishes(think, code, answer)}"))
    return Conversation(SYSTEM, tuple(marked))


def wishes(think: bool, code: bool, answer: bool) -> str:
    """What follows a question to ask for some of the tags; empty for none."""
    named = [("think in <think>", think), ("run Python in <code>", code), ("answer in <answer>", answer)]
    asked = ", ".join(wish for wish, wanted in named if wanted)
    return f" {asked[0].upper()}{asked[1:]}." if asked else ""


def _mark(round_: Round, code: bool, answer: bool) -> str:
    if round_.skill == "code":
        return f"<code>\n{round_.reply}\n</code>" if code else round_.reply
    return f"<answer>{round_.reply}</answer>" if answer else round_.reply


def about_scene(rng: random.Random, drawn: Drawn, names: Names) -> list[Round]:
    """One to three questions on one scene; the first shows it."""
    rounds = [rng.choices(_SCENE_ROUNDS, _SCENE_WEIGHTS)[0](rng, drawn) for _ in range(rng.randint(1, 3))]
    return [rounds[0]._replace(asked=(drawn.view, *rounds[0].asked), scene=drawn), *rounds[1:]]


def about_crops(rng: random.Random, drawn: Drawn, names: Names) -> list[Round]:
    """One or two close views in one message or two."""
    crops = rng.sample(drawn.crops, min(len(drawn.crops), rng.randint(1, 2)))
    groups = [crops] if rng.random() < 0.5 else [[crop] for crop in crops]
    return [_read(group) for group in groups]


def _read(crops: Sequence[Crop]) -> Round:
    named = [f"the number {crop.number}" if crop.number is not None else "a flag" for crop in crops]
    asked = "What is it?" if len(crops) == 1 else "What are they?"
    numbers = tuple(crop.number for crop in crops)
    return Round("read", (*(crop.view for crop in crops), asked), " and ".join(named), numbers=numbers)


def about_text(rng: random.Random, drawn: Drawn, names: Names) -> list[Round]:
    """One or two rounds of text only."""
    return [r for _ in range(rng.randint(1, 2)) for r in rng.choices(_TEXT_ROUNDS, (4, 5, 4))[0](rng, names)]


def _where(rng: random.Random, drawn: Drawn) -> Round:
    board = rng.choice(drawn.boards)
    return Round("where", (f"Where is the {board.colour} board?",), f"{board.x}, {board.y}", boards=(board,))


def _list(rng: random.Random, drawn: Drawn) -> Round:
    """Places right behind their colours: the colour's own token is the query that finds the board."""
    order = list(scenes.COLOURS)
    boards = sorted(drawn.boards, key=lambda board: order.index(board.colour))
    reply = ";".join(f" {b.colour}{b.x},{b.y}" for b in boards)
    return Round("list", ("List the boards.",), reply, boards=tuple(boards))


def _kind(rng: random.Random, drawn: Drawn) -> Round:
    board = rng.choice(drawn.boards)
    return Round(
        "kind", (f"What is on the {board.colour} board?",), "a flag" if board.flag else "a number", boards=(board,)
    )


def _ball(rng: random.Random, drawn: Drawn) -> Round:
    return Round("ball", ("What colour is the ball?",), drawn.ball)


def _count(rng: random.Random, drawn: Drawn) -> Round:
    return Round("count", ("How many boards are there?",), str(len(drawn.boards)))


_SCENE_ROUNDS: tuple[Callable[[random.Random, Drawn], Round], ...] = (_where, _list, _kind, _ball, _count)
_SCENE_WEIGHTS = (4, 5, 2, 2, 2)


def _repeat(rng: random.Random, names: Names) -> list[Round]:
    pieces = [names.name(rng) if rng.random() < 0.5 else _number(rng) for _ in range(rng.randint(1, 4))]
    text = ", ".join(pieces)
    return [Round("repeat", (f"Repeat: {text}",), text)]


def _number(rng: random.Random) -> str:
    return str(rng.randint(0, 10 ** rng.randint(1, 8)))


def _look_up(rng: random.Random, names: Names) -> list[Round]:
    """Pages in a message, then one to three questions on them."""
    known = [names.country(rng) for _ in range(rng.choice((1, 2, 2, 3)))]
    pages = [f"{i}. [{c.name}](world/{_code(rng)})\n\n{facts.country_text(c)}" for i, c in enumerate(known, start=1)]
    (first, reply), *others = [_ask(rng, rng.choice(known)) for _ in range(rng.randint(1, 3))]
    shown = "\n\n".join([*pages, first])
    return [Round("look_up", (shown,), reply), *(Round("look_up", (asked,), answer) for asked, answer in others)]


def _code(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=2))


def _ask(rng: random.Random, country: facts.Country) -> tuple[str, str]:
    name = country.name
    return rng.choice(
        [
            (f"What is the capital of {name}?", country.capital),
            (
                f"What are the population and area of {name}?",
                f"{country.population} thousand, {country.area} square km",
            ),
            (f"Which continent is {name} in?", country.continent),
            (f"Which country has the capital {country.capital}?", name),
        ]
    )


def _write_code(rng: random.Random, names: Names) -> list[Round]:
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    country = names.country(rng)
    x, y = scenes.GRID * rng.randrange(24), scenes.GRID * rng.randrange(25)
    word, sign = rng.choice([("times", "*"), ("plus", "+"), ("minus", "-")])
    asked, code = rng.choice(
        [
            (f"Print {a} {word} {b} in Python.", f"print({a} {sign} {b})"),
            (
                f"Print {country.population} thousand people per {country.area} square km in Python, rounded.",
                f"print(round({country.population} * 1000 / {country.area}))",
            ),
            (
                f"Crop the board at {x}, {y} of image_1 in Python.",
                f"x, y = {x}, {y}\nboard = image_1.crop((x, y, x + 64, y + 48))\nboard",
            ),
        ]
    )
    return [Round("code", (asked,), f"```python\n{code}\n```")]


COPYING = ("repeat", "look_up", "code")
"""Skills whose replies repeat parts of the conversation."""
_TEXT_ROUNDS: tuple[Callable[[random.Random, Names], list[Round]], ...] = (_repeat, _look_up, _write_code)
