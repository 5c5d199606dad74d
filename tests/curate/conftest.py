"""Question sets for the steps of curation, and tools for those who are asked."""

import asyncio
import json
import sys

import pytest
from PIL import Image

from foveal.curate.added import AddedFigures, FileFigures, SourceFigures
from foveal.curate.folder import Folder, Passes
from foveal.curate.leaks import CheckVerdict
from foveal.curate.rejects import Reject
from foveal.curate.settings import CurateSettings
from foveal.curate.stages import Stages
from foveal.curate.synthesis import synthesize, verify
from foveal.policy.scripted import ScriptedPolicy
from foveal.tools.base import Cell
from foveal.tools.session import Tools


class Shell:
    """A sandbox in which a cell prints what its code says behind `#`; `# error` is one that failed."""

    async def open(self, images):
        return self

    async def run(self, code, timeout):
        said = code.partition("#")[2].strip()
        failed = said == "error"
        return Cell("error" if failed else "ok", "" if failed else said, "", None, (), 0.1, False)

    async def image(self, name):
        return None

    async def close(self):
        pass


@pytest.fixture
def tools():
    """Tools with code that is not really run."""
    return Tools(code=Shell())


@pytest.fixture
def curation(tmp_path):
    """A curation folder with questions `q0` ... whose gold is their number; pictures are shared by two each."""

    def make(count: int, name: str = "curation", **meta) -> Folder:
        folder = tmp_path / name
        (folder / "pictures").mkdir(parents=True)
        lines = []
        for number in range(count):
            picture = f"pictures/{number // 2}.png"
            Image.new("RGB", (40, 40), (number // 2, 0, 0)).save(folder / picture)
            row = {"id": f"q{number}", "text": f"What is {number}?", "images": [picture], "gold": [str(number)]}
            lines.append(json.dumps({**row, "family": "even" if number % 2 == 0 else "odd", "meta": meta}))
        (folder / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines))
        return Folder(folder)

    return make


@pytest.fixture
def settings():
    """Settings of a curation with two teachers and a student."""

    def make(**changes):
        values = {
            "teachers": [
                {
                    "name": "alice",
                    "policy": "http://me:s@secret@10.0.0.1/v1",
                    "price": {"prompt": 2.0, "completion": 10.0},
                },
                {"name": "bob", "policy": "b"},
            ],
            "student": {"policy": "http://student/v1"},
            "verify": {"placeholders": True},
            "split": {"held_out": 0.3},
        }
        return CurateSettings.model_validate(values | changes)

    return make


@pytest.fixture
def add_figures():
    """Writes what `add` writes of a source, and of rows that it set aside."""

    def write(folder, name="s", licence="CC BY 4.0", url="https://example.org/a_b", **rejected):
        kept = (folder / "questions.jsonl").read_text().count("\n") if (folder / "questions.jsonl").exists() else 2
        rows = kept + sum(rejected.values())
        file = FileFigures(name="a.jsonl", sha256="ab" * 32, size=1234, rows=rows)
        source = SourceFigures(
            name=name, licence=licence, url=url, files=(file,), rows=rows, kept=kept, rejected=rejected,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sources.json").write_text(AddedFigures(settings={}, sources=(source,)).model_dump_json())
        rejects = [Reject(source=name, file="a.jsonl", row=n, reason=why, message="is no row", said=f"row {n}")
                   for why, count in rejected.items() for n in range(count)]  # fmt: skip
        (folder / "rejects.jsonl").write_text("".join(f"{one.model_dump_json()}\n" for one in rejects))

    return write


def _alice(messages):
    """Right at even numbers."""
    number = int(messages[1].text.split()[2].rstrip("?"))
    look = "<think>I look.</think>\n<code>\n```python\nf(1)\n```\n</code>"
    answer = number if number % 2 == 0 else "no idea"
    return look if len(messages) == 2 else f"<think>Well.</think><answer>{answer}</answer>"


@pytest.fixture
def measured(curation):
    """A curation that knows of its questions: q0, q1 leak; q2, q3 are easy; q4 ... q9 are solved, q4 always, q5 once;
    the rest are not."""

    def make(count=20, name="curation"):
        folder = curation(count, name)
        names = [question.row.id for question in folder.questions()]
        leak = {"benchmark": "b", "item": "1", "distance": 0, "words": 9}
        folder.write_verdicts("check", [CheckVerdict(id=n, picture=leak if n in ("q0", "q1") else None) for n in names])
        easy = {"q2": 3, "q3": 8}
        folder.write_verdicts("difficulty", [Passes(id=n, samples=8, right=easy.get(n, 2)) for n in names[2:]])
        rates = {"q4": 8, "q5": 1, "q6": 7, "q7": 4, "q8": 4, "q9": 4}
        folder.write_verdicts("benefit", [Passes(id=n, samples=8, right=rates.get(n, 0)) for n in names[4:]])
        return folder

    return make


@pytest.fixture
def curated(measured, asked, tools, add_figures):
    """20 questions of which alice and bob were asked those that nobody solved: she is right at even ones, he never."""

    def make(chosen, name="curation"):
        folder = measured(20, name)
        add_figures(folder.path, duplicate=6, no_answer=1)
        idle = ScriptedPolicy(lambda messages: "<think>I guess.</think><answer>none</answer>", "bob-model")
        who = {
            "alice": asked(ScriptedPolicy(_alice, "alice-model"), tools=tools),
            "bob": asked(idle, tools=tools),
        }
        questions = Stages(folder, chosen).asked
        asyncio.run(synthesize(folder, chosen, who, questions))
        verify(folder, chosen, questions)
        return folder

    return make


@pytest.fixture
def steps():
    """Counts the lines of Python that a call goes through: what it costs, the same on every machine."""

    def counted(work):
        lines = 0

        def trace(frame, event, argument):
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            work()
        finally:
            sys.settrace(before)
        return lines

    return counted
