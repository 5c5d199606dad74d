"""The teachers: they answer a question by running the real agent loop, knowing what is in the scene.

`near` knows the boxes and can read the numbers (the scene's truth). Everything else it takes from what the tools gave
back: the name from the image search, facts from the text search, results from the code. So a trajectory in which a
tool failed ends wrong, and is not kept. Like teachers that are told to use tools, it looks closer than it must: nine in
ten direct questions it answers only after a look at a board.

`far` has better eyes, as a model a hundred times larger has: it reads numbers in the picture as it was given and knows
flags by sight, so it never looks closer and never searches for an image. Facts and results come from the tools as
before. What it writes is right and runs without errors, but its student cannot see what it sees.

Both say at every step what they are after, and nobody looks at two boards in one step: a small model does not look back
to a question that is several turns away, nor to a thought that stands before two crops. Of two boards the first thought
names both, for the same reason: the second one is not to be found in the question again.
"""

import re
import zlib
from collections.abc import Sequence

from foveal.micro.questions import Item
from foveal.micro.scenes import Board
from foveal.micro.settings import Teacher
from foveal.trajectory import Message

_FLAG = re.compile(r"1\. \[Flag of (.+?)\]")
_WANTED = {
    "ball": "ball",
    "count": "boards",
    "number": "number",
    "country": "country",
    "capital": "capital",
    "sum": "plus",
    "product": "times",
    "density": "population and area",
}
"""What each kind of question is after."""
_OUT = re.compile(r"stdout:\n```\n(.*?)\n```", re.DOTALL)


def turn(item: Item, messages: Sequence[Message], teacher: Teacher) -> str:
    """The teacher's next turn after `messages` (prompt, its own turns, observations)."""
    seen = [message.text for message in messages if message.role == "user"][1:]
    if item.family == "direct" and (seen or teacher == "far" or not looks_anyway(item)):
        return _say(f"I can see it. {_direct(item)}", _answer(item.gold))
    if teacher == "near":
        boards = item.boards or item.scene.boards[:1]
        if len(seen) < len(boards):
            return _look(boards, len(seen), _WANTED[item.kind])
        seen = seen[len(boards) :]
    if item.family == "perception":
        return _say(f"It is the number {item.gold}.", _answer(item.gold))
    if item.family == "reasoning":
        return _reason(item, seen)
    if teacher == "far":
        return _search(item, item.country.name if item.country else "unknown", seen)
    if not seen:
        return _say(f"It is a flag. I search for {_WANTED[item.kind]}.", _call("image_search", '"image": "board"'))
    found = _FLAG.search(seen[0])
    return _search(item, found.group(1) if found else "unknown", seen[1:])


def looks_anyway(item: Item) -> bool:
    """Whether the teacher looks at a board that the question does not need: in nine of ten scenes, at random."""
    return zlib.crc32(item.scene.image.tobytes()) % 10 > 0


def _look(boards: Sequence[Board], seen: int, wanted: str) -> str:
    """A look at the next of these boards: what the one before it says is told first, and which one comes after it."""
    known = f"It is the number {boards[seen - 1].number}. " if seen else ""
    after = f", then at the {boards[seen + 1].colour} board" if seen + 1 < len(boards) else ""
    look = f"I look at the {boards[seen].colour} board for {wanted}{after}."
    return _say(known + look, _code(_crop(boards[seen], wanted)))


def _direct(item: Item) -> str:
    return f"The ball is {item.gold}." if item.kind == "ball" else f"There are {item.gold} boards."


def _reason(item: Item, seen: Sequence[str]) -> str:
    """After the numbers are known, and `seen` since."""
    if not seen:
        a, b = (board.number for board in item.boards)
        sign = "+" if item.kind == "sum" else "*"
        return _say(f"The numbers for {_WANTED[item.kind]} are {a} and {b}.", _code(f"print({a} {sign} {b})"))
    return _printed(seen)


def _search(item: Item, name: str, seen: Sequence[str]) -> str:
    """After the country is known, and `seen` since."""
    if item.kind == "country":
        return _say(f"It is the flag of {name}.", _answer(name))
    wanted = _WANTED[item.kind]
    if not seen:
        thought = f"It is the flag of {name}. I search for {wanted}."
        return _say(thought, _call("search", f'"query": "{wanted} of {name}"'))
    page = seen[0]
    if item.kind == "capital":
        capital = _first(r"Capital: (.+?)\. Population", page)
        return _say(f"Capital: {capital}.", _answer(capital))
    if len(seen) == 1:
        population, area = _first(r"Population: (\d+) thousand", page), _first(r"Area: (\d+) square", page)
        thought = f"Population: {population} thousand. Area: {area} square km."
        return _say(thought, _code(f"print(round({population} * 1000 / {area}))"))
    return _printed(seen)


def _printed(seen: Sequence[str]) -> str:
    found = _OUT.search(seen[-1])
    result = found.group(1).strip() if found else "unknown"
    return _say(f"The result is {result}.", _answer(result))


def _first(pattern: str, page: str) -> str:
    found = re.search(pattern, page)
    return found.group(1) if found else "0"


def _crop(board: Board, wanted: str) -> str:
    place = f"# {board.colour}\nx, y = {board.x}, {board.y}"
    return f"{place}\nboard = image_1.crop((x, y, x + 64, y + 48))\ndisplay(board)  # for {wanted}"


def _say(thought: str, action: str) -> str:
    return f"<think>{thought}</think>\n{action}"


def _code(code: str) -> str:
    return f"<code>\n```python\n{code}\n```\n</code>"


def _call(tool: str, arguments: str) -> str:
    return f'<tool_call>{{"name": "{tool}", "arguments": {{{arguments}}}}}</tool_call>'


def _answer(text: str) -> str:
    return f"<answer>{text}</answer>"


def wording() -> list[str]:
    """Every fixed phrase of the teacher and of the observations, for the tokenizer, and a cell with two crops."""
    board = Board("red", 128, 64, 47, None)
    crops = [f"# red\nx, y = 128, 64\n{name} = image_1.crop((x, y, x + 64, y + 48))\n" for name in "ab"]
    return [
        _say("I can see it. The ball is red.", _answer("red")),
        _say("I can see it. There are 4 boards.", _answer("4")),
        _say(
            "I look at the blue board and the green board for plus.",
            _code(f"{''.join(crops)}display(a, b)  # for plus"),
        ),
        _say("I look at the black board for number.", _code(_crop(board, "number"))),
        _say(
            "The numbers for times are 47 and 82.",
            _code("print(47 * 82)\nprint(47 + 82)\nprint(round(831 * 1000 / 357))"),
        ),
        _say("It is a flag. I search for country.", _call("image_search", '"image": "board"')),
        _say("It is the flag of X. I search for capital.", _call("search", '"query": "capital of X"')),
        _say("I search for population and area.", _call("search", '"query": "population and area of X"')),
        _say(
            "Population: 83 thousand. Area: 357 square km.",
            "Capital: X. The result is 3. It is the number 4.",
        ),
        "Code execution result:\nImages:\n",
        "Code execution result:\nstdout:\n```\n3854\n```",
        "An image search for the image found 3 results:\n\n## Web Results\n1. [Flag of X] \n\n\n2. [Flag of Y] \n\n",
        "A search for 'X capital' found 3 results:\n\n## Web Results\n1. [X](world/xx)\n\nX is a country in Asia.\n\n",
        "2. [Y](city/123)\n\nY is a city in Z where 3 people live.\n",
    ]
