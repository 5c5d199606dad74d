"""The oracle: a script that answers every question through the real agent loop, sandbox and searches.

It is told where things lie on a picture and what kind of question it has, never what is true: what it says it has
from what the tools gave back. Each of its steps can be switched off:

- perception: its code sees the picture as the base view leaves it (`reader.base_view`).
- image_search, search: the tool is not offered; it then says what is most frequent (`items.prior`).
- reason: it says the first value that it found.

A question needs the steps of its `hops`: with one of them off the oracle fails, with any other off it does not. The
tests show that; `docs/realx-mini.md` has the figures.
"""

import asyncio
import json
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from foveal.agent import Agent
from foveal.bench.realxmini import items, kinds
from foveal.bench.realxmini.kinds import Hop, Kind
from foveal.bench.scoring.words import short
from foveal.config import Limits
from foveal.curate.questions import StoredQuestion, read_questions
from foveal.policy.scripted import ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.tools.base import CodeSandbox
from foveal.tools.search.folder import open_index
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Message, Question, Trajectory

LIMITS = Limits(max_turns=12, wall_seconds=600, cell_seconds=120)
TOGETHER = 2
"""Questions under way at once."""

_PAGES = {
    "capital": r"Its capital is (.+?)\. Its population",
    "population": r"Its population is (\d+)",
    "area": r"Its area is (\d+) square",
    "founded": r"founded in (\d+)",
    "employees": r"It has (\d+) employees",
    "country": r"is a city in (.+?)\. Its population",
}
_EXPRESSIONS = {
    "sum": "{0} + {1}",
    "difference": "abs({0} - {1})",
    "product": "{0} * {1}",
    "density": "round({0} * 1000 / {1})",
    "gap": "round({0} - {1})",
}


class Verdict(NamedTuple):
    """How the oracle did on a question."""

    id: str
    domain: str
    kind: str
    hops: tuple[str, ...]
    right: bool
    trajectory: Trajectory


async def run(
    folder: Path,
    sandbox: CodeSandbox,
    off: Hop | None = None,
    wanted: Callable[[StoredQuestion], bool] = lambda question: True,
    on_done: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """Answer the questions of a folder that `build` wrote.

    Args:
        folder: The folder.
        sandbox: Runs the oracle's code.
        off: The step that is switched off.
        wanted: Which questions.
        on_done: Called with each verdict.

    Raises:
        InputError: The folder holds no questions or no index.
        IsolationError: This machine cannot isolate code.
    """
    index = open_index(folder / "index")
    text, image = None if off == "search" else index.text, None if off == "image_search" else index.images
    tools = Tools(code=sandbox, text=text, image=image)
    gate = asyncio.Semaphore(TOGETHER)

    async def one(asked: StoredQuestion) -> Verdict:
        async with gate:
            store = ImageStore()
            question = await asyncio.to_thread(asked.open, store)
            policy = ScriptedPolicy(_Script(question.meta, off), f"oracle without {off}" if off else "oracle")
            agent = Agent(policy, tools, FOVEAL, LIMITS)
            trajectory = await agent.run(question, store)
        right = trajectory.answer is not None and short(trajectory.answer, question) == 1
        meta: Mapping[str, Any] = question.meta
        verdict = Verdict(question.id, meta["domain"], meta["kind"], tuple(meta["hops"]), right, trajectory)
        on_done(verdict)
        return verdict

    async with asyncio.TaskGroup() as group:
        asked = [question for question in read_questions([folder / "questions.jsonl"]) if wanted(question)]
        tasks = [group.create_task(one(question)) for question in asked]
    return [task.result() for task in tasks]


def blind(folder: Path) -> dict[str, bool]:
    """Whether the most frequent answer of its kind is right, by question: nothing but its text is looked at.

    Raises:
        InputError: The folder holds no questions.
    """
    right = {}
    for asked in read_questions([folder / "questions.jsonl"]):
        meta: Mapping[str, Any] = asked.row.meta
        guess = items.prior(kinds.find(meta["domain"], meta["kind"]), meta["perception"])
        question = Question(id=asked.row.id, text=asked.row.text, gold=asked.row.gold)
        right[asked.row.id] = short(guess, question) == 1
    return right


class _Script:
    """The turns of one question, as a function of the conversation."""

    def __init__(self, meta: Mapping[str, Any], off: Hop | None):
        self._turns = _turns(meta, off)
        self._begun = False

    def __call__(self, messages: list[Message]) -> str:
        if not self._begun:
            self._begun = True
            return next(self._turns)
        return self._turns.send(messages[-1].text)


def _turns(meta: Mapping[str, Any], off: Hop | None) -> Generator[str, str, None]:
    """What is said, each time in the light of what came back."""
    kind = kinds.find(meta["domain"], meta["kind"])
    guess = _answer(items.prior(kind, meta["perception"]))
    seen = _printed((yield _code(_look(kind, meta, off == "perception"))))
    if kind.seen == "count":
        if off == "reason":
            yield _answer("1")
        yield _answer(str(_printed((yield _code("print(reader.alike(cards[picked[0]]['content'], loose))")))))
    if not isinstance(seen, list):
        yield guess
        return
    found = [str(one) for one in seen]
    if kind.seen == "content":
        names = []
        for number in range(len(found)):
            if off == "image_search":
                yield guess
            titles = re.findall(r"\[(?:Flag|Logo) of (.+?)\]", (yield _call("image_search", image=f"target_{number}")))
            names.append(titles[0] if titles else "")
        found = names
    if kind.facts:
        values = []
        for name in found:
            for fact in kind.facts:
                if off == "search":
                    yield guess
                page = yield _call("search", query=f"{'city' if fact == 'country' else fact} of {name}")
                values.append(_fact(page, name, fact))
        if None in values:
            yield guess
        found = [str(value) for value in values]
    if kind.reason and off != "reason":
        expression = _EXPRESSIONS[kind.operation].format(*(value or "0" for value in found))
        found = [str(_printed((yield _code(f"print({expression})"))))]
    yield _answer(found[0])


def _look(kind: Kind, meta: Mapping[str, Any], far: bool) -> str:
    """Code that takes from the picture what the kind asks for, and prints it as JSON."""
    layout, marks = meta["layout"], meta["marks"]
    source = resources.files("foveal.bench.realxmini").joinpath("reader.py").read_text(encoding="utf-8")
    lines = [
        source,
        "import json",
        f"picture = {'base_view(image_1)' if far else 'image_1'}",
        f"reader = Reader(picture, {layout['size']}, {far})",
    ]
    if "panels" in layout:
        lines += [
            f"panels = json.loads({json.dumps(layout['panels'])!r})",
            f"number = reader.find([one['mark'] for one in panels], {marks[0]!r})" if marks else "number = 0",
            "panel = panels[number]",
            "bars = reader.bars(panel)",
            "order = sorted(range(len(bars)), key=lambda bar: -bars[bar])",
        ]
        places = {"longest": "[order[0]]", "shortest": "[order[-1]]"}.get(kind.seen, "[order[0], order[-1]]")
        value = "bars[bar]" if kind.seen == "gap" else "reader.name(panel['bars'][bar]['name'])"
        return "\n".join([*lines, f"print(json.dumps([{value} for bar in {places}]))"])
    lines += [
        f"cards = json.loads({json.dumps(layout['boards'])!r})",
        f"loose = {layout['loose']!r}",
        f"picked = [reader.find([card['mark'] for card in cards], mark) for mark in {list(marks)!r}]",
    ]
    if kind.seen == "content":
        crops = [f"target_{i} = picture.crop(cards[picked[{i}]]['content'])" for i in range(len(marks))]
        return "\n".join([*lines, *crops, "print(json.dumps(picked))"])
    if kind.seen == "count":
        return "\n".join([*lines, "print(json.dumps(picked))"])
    read = f"reader.{kind.seen}(cards[card]['words'])"
    return "\n".join([*lines, f"print(json.dumps([{read} for card in picked]))"])


def _printed(observation: str) -> Any:
    """The JSON that code printed; None if it printed none."""
    found = re.search(r"stdout:\n```\n(.*?)\n```", observation, re.DOTALL)
    try:
        return json.loads(found[1]) if found else None
    except ValueError:
        return None


def _fact(observation: str, name: str, fact: str) -> str | None:
    """A fact on the page whose title is the name; None if no such page was found."""
    for title, body in re.findall(r"^\d+\. \[(.*?)\]\(.*?\)\n\n(.*)$", observation, re.MULTILINE):
        if title == name and (told := re.search(_PAGES[fact], body)):
            return told[1]
    return None


def _code(code: str) -> str:
    return f"<think>I look and compute.</think>\n<code>\n```python\n{code}\n```\n</code>"


def _call(tool: str, **arguments: str) -> str:
    call = json.dumps({"name": tool, "arguments": arguments}, ensure_ascii=False)
    return f"<think>I search.</think>\n<tool_call>{call}</tool_call>"


def _answer(text: str) -> str:
    return f"<think>That is it.</think>\n<answer>{text}</answer>"


def accuracy(verdicts: Sequence[Verdict]) -> float:
    """Share of right answers; 0 of none."""
    return sum(verdict.right for verdict in verdicts) / max(len(verdicts), 1)
