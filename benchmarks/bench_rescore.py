"""Measures how long saved answers take to be scored again and drawn, without torch, beside a plain parse of the files.

    python benchmarks/bench_rescore.py [-n TRAJECTORIES] [--run FOLDER] [--json FILE]

The answers are made up, or those of a benchmark run, told over until there are enough: four turns each, with code, its
output and thoughts of usual length, every answer with a picture of its own question. Each step runs in a process of its
own, as a user would start it:

* parse: `json.loads` of every line of the files, and nothing else; what no program that reads them can go below.
* rescore: `foveal bench --report RUN --rescore`: every answer scored again, the files written anew, figures drawn.
* draw: `foveal bench --report RUN`: figures, intervals and report alone.
* page: `foveal bench --report RUN --page DIR`: the same with a web page for every answer.

Keys of the JSON file: `trajectories`, `bytes`, `parse_seconds`, `rescore_seconds`, `draw_seconds`, `page_seconds`,
`rescore_vs_parse`, `draw_vs_parse`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from foveal.bench.header import FILE, Code, Header
from foveal.policy.paid import Price
from foveal.records import FILE as LINES
from foveal.records import read_run
from foveal.trajectory import (
    CellResult,
    ImageRef,
    Message,
    Observation,
    Question,
    StopReason,
    TextPart,
    ToolCall,
    Trajectory,
    Turn,
)

PARSE = """
import json, sys, time
started = time.monotonic()
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        for line in file:
            json.loads(line)
print(time.monotonic() - started)
"""


def main() -> None:
    """Measure, print, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, default=5000, help="trajectories in all; half of them without tools")
    parser.add_argument("--run", type=Path, help="a saved benchmark run whose answers are taken")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        run = Path(scratch) / "run"
        write(run, given.n // 2, given.run)
        files = sorted(run.glob(f"*/{LINES}"))
        parse = float(subprocess.run([sys.executable, "-c", PARSE, *files], capture_output=True, check=True).stdout)
        seconds = {
            "rescore": timed("--report", str(run), "--rescore"),
            "draw": timed("--report", str(run)),
            "page": timed("--report", str(run), "--page", f"{scratch}/page"),
        }
        size = sum(file.stat().st_size for file in files)
    found = {"trajectories": given.n // 2 * 2, "bytes": size, "parse_seconds": parse}
    found |= {f"{name}_seconds": value for name, value in seconds.items()}
    found |= {f"{name}_vs_parse": seconds[name] / parse for name in ("rescore", "draw")}
    for name, value in found.items():
        print(f"{name:18} {value:,.2f}" if isinstance(value, float) else f"{name:18} {value:,}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


def timed(*words: str) -> float:
    """Seconds that `foveal bench` takes, its start included; it must not load torch."""
    code = (
        "import sys\nfrom foveal.cli import main\n"
        "try:\n    main(['bench', *sys.argv[1:]])\n"
        "finally:\n    assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    return time.monotonic() - started


def write(run: Path, n: int, source: Path | None) -> None:
    """A run of V* with `n` answers with tools and as many without."""
    saved = read_run(source / "with-tools").trajectories if source is not None else ()
    for mode in ("with-tools", "without-tools"):
        (run / mode).mkdir(parents=True)
        with (run / mode / LINES).open("w", encoding="utf-8") as file:
            for number in range(n):
                one = answer(number, 4 if mode == "with-tools" else 1)
                if saved:
                    real = saved[number % len(saved)]
                    one = real.model_copy(update={"id": one.id, "question": one.question, "answer": one.answer})
                file.write(one.model_dump_json() + "\n")
    header = Header(
        benchmark="vstar", title="V*", data="made up", items=n, left_out=0, questions_sha256="0" * 64, n=n, repeats=1,
        seed=0, temperature=0.0, policy="made up", profile="foveal", thumbnails=True, prompts={}, suffix="",
        tools={"offered": ["code"]}, tools_why="", limits={"max_image_pixels": 1}, scorer="", judge=None,
        price=Price(), modes=("with-tools", "without-tools"), code=(Code(since="", foveal="0", commit=None),),
    )  # fmt: skip
    (run / FILE).write_text(header.model_dump_json())


def answer(number: int, turns: int) -> Trajectory:
    """An answer of the last turn after looks at the picture; two of three are right."""
    options = {"A": "red", "B": "blue", "C": "green", "D": "grey"}
    code = (
        f"piece = image_1.crop(({number % 90}, 20, 300, 200))\nscale = piece.width / 7\nprint(piece.size, scale)\npiece"
    )
    thought = "The thing is small, so I cut it out and look again, and compare it with what stands beside it. " * 6
    picture = ImageRef(sha256=f"{number:064x}", width=1600, height=1200)
    look = Turn(
        text=f"<think>{thought}</think>\n<code>\n```python\n{code}\n```\n</code>",
        call=ToolCall(tool="code", arguments={"code": code}),
        observation=Observation(tool="code", cell=CellResult(status="ok", stdout="(210, 180) 30.0\n" * 8), seconds=0.1),
        observation_parts=(TextPart(text="Code execution result:\n" + "(210, 180) 30.0\n" * 8),),
        prompt_tokens=1800, completion_tokens=160, seconds=2.0,
    )  # fmt: skip
    letter = "ABCD"[number % 4]
    question = Question(
        id=f"q{number}", text=f"What colour is thing {number}?", images=(picture,), gold=(letter,),
        family=("direct", "relative")[number % 2], meta={"options": options},
    )  # fmt: skip
    last = Turn(text=f"<think>{thought}</think>\n<answer>{letter}</answer>", prompt_tokens=2600, completion_tokens=90)
    system = Message(role="system", parts=(TextPart(text="You look closely and call tools where they help. " * 80),))
    return Trajectory(
        id=f"q{number}/0", question=question, policy="made up", profile="foveal", prompt=(system,),
        turns=(*[look] * (turns - 1), last), answer=letter if number % 3 else options[letter][:1],
        stop_reason=StopReason.ANSWERED, settings={"bench": {"by": "rule", "problem": ""}}, seconds=9.0,
        reward={"accuracy": 1.0},
    )  # fmt: skip


if __name__ == "__main__":
    main()
