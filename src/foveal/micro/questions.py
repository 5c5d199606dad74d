"""Questions about scenes, in five families, each with exact gold and the truth that a teacher needs.

| family | what it needs |
|---|---|
| direct | nothing: it can be told at the base view |
| perception | a crop, and reading it |
| search | a crop, image search; for capitals a text search too |
| reasoning | two crops and arithmetic in code |
| integration | a crop, image search, text search and arithmetic in code |
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pydantic import JsonValue

from foveal.micro import scenes
from foveal.micro.facts import Country, counterfactual, countries, split
from foveal.trajectory import ImageStore, Question

FAMILIES = ("direct", "perception", "search", "reasoning", "integration")
TOOL_FAMILIES = FAMILIES[1:]

SYSTEM = "You are a helpful assistant."
WITH_TOOLS = " Think in <think>, run Python in <code>, search in <tool_call>, answer in <answer>."
"""What follows a question when tools are offered. Short: at this size every token of a prompt is felt."""
WITHOUT_TOOLS = " Think in <think>, answer in <answer>."

TEMPLATES: Mapping[str, str] = {
    "ball": "What colour is the ball?",
    "count": "How many boards are there?",
    "number": "What number is on the {a} board?",
    "country": "Which country's flag is on the {a} board?",
    "capital": "What is the capital of the country whose flag is on the {a} board?",
    "sum": "What is the number on the {a} board plus the number on the {b} board?",
    "product": "What is the number on the {a} board times the number on the {b} board?",
    "density": "How many people live per square km in the country whose flag is on the {a} board, rounded?",
}
KINDS: Mapping[str, tuple[str, ...]] = {
    "direct": ("ball", "count"),
    "perception": ("number",),
    "search": ("country", "capital"),
    "reasoning": ("sum", "product"),
    "integration": ("density",),
}


class Item(NamedTuple):
    """A question with its scene and everything that is true about it."""

    kind: str
    family: str
    text: str
    gold: str
    scene: scenes.Scene
    boards: tuple[scenes.Board, ...]
    """The boards that the question names, in order."""
    country: Country | None
    """The country whose flag the question is about, with the facts of its split."""

    def question(self, identifier: str, store: ImageStore) -> Question:
        """The record that an agent is asked; its picture is put into the store."""
        return Question(
            id=identifier,
            text=self.text,
            images=(store.put(self.scene.image),),
            gold=(self.gold,),
            family=self.family,
            meta=self.meta,
        )

    @property
    def meta(self) -> dict[str, JsonValue]:
        """What a record of the question keeps of the truth."""
        return {
            "kind": self.kind,
            "boxes": [list(board.box) for board in self.boards],
            "country": self.country.name if self.country else None,
        }


def facts_of(split_name: str) -> tuple[Country, ...]:
    """The facts that hold in a split: real ones, or edited ones in `counterfactual`."""
    return counterfactual() if split_name == "counterfactual" else countries()


def asked_countries(split_name: str) -> tuple[Country, ...]:
    """Countries that questions of a split may be about, with the facts of that split.

    `train` and `test` are disjoint; `counterfactual` asks about the test countries.
    """
    codes = {country.code for country in split("train" if split_name == "train" else "test")}
    return tuple(country for country in facts_of(split_name) if country.code in codes)


def make(rng: random.Random, family: str, known: Sequence[Country]) -> Item:
    """One random question of a family about countries of `known`."""
    kind = rng.choice(KINDS[family])
    by_code = {country.code: country for country in known}
    numbers = 2 if family == "reasoning" else 1
    scene = scenes.generate(rng, list(by_code), rng.randint(numbers, 3), rng.randint(1, 2))
    wanted = {"reasoning": 2, "direct": 0}.get(family, 1)
    pick_flag = family in ("search", "integration")
    fitting = [board for board in scene.boards if (board.flag is not None) == pick_flag]
    boards = tuple(rng.sample(fitting, wanted))
    country = by_code[str(boards[0].flag)] if pick_flag else None
    names = dict(zip("ab", (board.colour for board in boards), strict=False))
    return Item(
        kind, family, TEMPLATES[kind].format(**names), _gold(kind, scene, boards, country), scene, boards, country
    )


def _gold(kind: str, scene: scenes.Scene, boards: Sequence[scenes.Board], country: Country | None) -> str:
    if country is not None:
        return {"country": country.name, "capital": country.capital, "density": str(country.density)}[kind]
    if kind == "ball":
        return scene.ball
    if kind == "count":
        return str(len(scene.boards))
    numbers = [int(board.number or 0) for board in boards]
    return str({"number": numbers[0], "sum": sum(numbers), "product": numbers[0] * numbers[-1]}[kind])


def sample(split_name: str, count: int, seed: int) -> Iterator[Item]:
    """`count` questions of a split, the families in turn. The same seed gives the same questions."""
    return about(asked_countries(split_name), count, f"{split_name}-{seed}")


def sampled(split_name: str, seed: int, place: int) -> Item:
    """The question at a place of `sample`."""
    return _at(asked_countries(split_name), f"{split_name}-{seed}", place)


def about(known: Sequence[Country], count: int, seed: str) -> Iterator[Item]:
    """`count` questions about countries of `known`, the families in turn. The same seed gives the same questions."""
    for index in range(count):
        yield _at(known, seed, index)


def _at(known: Sequence[Country], seed: str, index: int) -> Item:
    return make(random.Random(f"{seed}-{index}"), FAMILIES[index % len(FAMILIES)], known)


def templates() -> Iterator[str]:
    """The wording of questions and prompts, for the tokenizer."""
    for text in TEMPLATES.values():
        for colour in scenes.COLOURS:
            yield text.format(a=colour, b="red")
    yield WITH_TOOLS
    yield WITHOUT_TOOLS
