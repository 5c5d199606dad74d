"""A benchmark as a user runs it, over a loopback endpoint whose answers follow from what it is asked alone.

Rows are those of V*, as lmms-eval reads them. The model answers question N
- without pictures: always A;
- without tools: right if N is a multiple of 3;
- with tools: as without if N is a multiple of 3, but wrong for 9; else it runs code, and is right if N is even and it
  saw what the code printed.
"""

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from foveal.cli import main
from foveal.records import read_run

COUNT = 12
LOOK = "<think>I look.</think>\n<code>\n```python\nprint(6 * 7)\n```\n</code>"


def right(number: int) -> str:
    return "ABCD"[number % 4]


def wrong(number: int) -> str:
    return "ABCD"[(number + 1) % 4]


class World:
    """The endpoint.

    Attributes:
        replies: How often each body was answered.
        slow: Seconds before a reply.
        down: Whether every request is refused.
    """

    def __init__(self) -> None:
        self.replies: Counter[str] = Counter()
        self.slow, self.down, world = 0.0, False, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                time.sleep(world.slow)
                if world.down:
                    self.say(400, {"error": {"message": "not today"}})
                    return
                world.replies[json.dumps(body, sort_keys=True)] += 1
                text = f"<think>So.</think>{world.turn(body)}"
                for stop in body.get("stop") or ():
                    text = text.partition(stop)[0]
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                self.say(200, {"choices": [choice], "usage": {"prompt_tokens": 500, "completion_tokens": 40}})

            def say(self, status: int, value: object) -> None:
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address) -> None:
                """A client that was killed hangs up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def turn(self, body) -> str:
        user = body["messages"][1]["content"]
        parts = [{"type": "text", "text": user}] if isinstance(user, str) else user
        number = int(re.search(r"board (\d+)\?", " ".join(part.get("text", "") for part in parts))[1])
        if all(part["type"] == "text" for part in parts):
            return "<answer>A</answer>"
        tools = "<code>" in json.dumps(body["messages"][0])
        if number % 3 == 0:
            return f"<answer>{wrong(number) if tools and number == 9 else right(number)}</answer>"
        if not tools:
            return f"<answer>{wrong(number)}</answer>"
        if len(body["messages"]) == 2:
            return LOOK
        seen = "42" in json.dumps(body["messages"][-1])
        return f"<answer>{right(number) if seen and number % 2 == 0 else wrong(number)}</answer>"


@pytest.fixture
def world():
    one = World()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = []
    for number in range(COUNT):
        Image.new("RGB", (64, 48), (20 * number, 0, 99)).save(folder / f"{number}.png")
        text = f"What is on board {number}?\n(A) one\n(B) two\n(C) three\n(D) four\nAnswer with the option's letter."
        kind = ("direct_attributes", "relative_position")[number % 2]
        rows.append({"question_id": str(number), "image": f"{number}.png", "text": text, "label": right(number),
                     "category": kind})  # fmt: skip
    rows.append({"question_id": "99", "image": "none.png", "text": "What?\n(A) x\n(B) y", "label": "A"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def words(world: World, data: Path, run: Path, *more: str) -> list[str]:
    return ["bench", "vstar", "--policy", world.url, "--model", "m", "--data", str(data), "--concurrency", "4",
            "--limits.max_turns", "4", "--run", str(run), *more]  # fmt: skip


def command(*given: str, folder: Path) -> tuple[int, dict]:
    """Run a command; its exit code and figures."""
    out = folder / "figures.json"
    out.unlink(missing_ok=True)
    with pytest.raises(SystemExit) as end:
        main([*given, "--json", str(out)])
    return end.value.code, json.loads(out.read_text()) if out.exists() else {}


TOLD = ("n", "accuracy", "no_tool_accuracy", "blind_accuracy", "blank_accuracy", "tool_gain", "tool_harm")


def test_a_benchmark_with_everything_beside_the_score(world, data, tmp_path, capsys):
    run = tmp_path / "run"
    given = words(world, data, run, "--blind", "true", "--blank-observations", "true", "--price.prompt", "2.0")
    code, figures = command(*given, folder=tmp_path)
    said = capsys.readouterr().out
    assert code == 0, said
    # Of 0 to 11: right with tools 0, 3, 6 and 2, 4, 8, 10; without 0, 3, 6, 9; blind 0, 4, 8; blanked 0, 3, 6.
    assert {name: figures[name] for name in TOLD} == {
        "n": 12, "accuracy": 7 / 12, "no_tool_accuracy": 4 / 12, "blind_accuracy": 3 / 12, "blank_accuracy": 3 / 12,
        "tool_gain": 4 / 12, "tool_harm": 1 / 12,
    }  # fmt: skip
    assert figures["lost_by_tools"] == ["9"] and figures["won_by_tools"] == ["2", "4", "8", "10"]
    assert (figures["call_rate_no_tool_right"], figures["call_rate_no_tool_wrong"]) == (0.0, 1.0)
    assert figures["adaptiveness"] == 1.0 and figures["calls_per_question"] == figures["tools.code"] == 8 / 12
    assert figures["turns_per_question"] == 20 / 12 and figures["tokens_per_question"] == 20 / 12 * 540
    assert figures["cost_per_question"] == pytest.approx(20 / 12 * 500 * 2 / 1e6)
    assert figures["family.direct_attributes.n"] == 6 and figures["stop.answered"] == 1.0
    assert figures["summary.score"] == 7 / 12 and figures["seconds_per_question"] > 0
    assert (figures["infrastructure_failures"], figures["missing"], figures["unscored"]) == (0, 0, 0)
    assert "left out" in said and "row 12" in said and "58.3 %" in said
    report = (run / "report.md").read_text()
    for text in ("58.3 %", "| with tools | 12 |", "questions won by tools", "12,845,056 pixels"):
        assert text in report
    header = json.loads((run / "bench.json").read_text())
    assert header["left_out"] == 1 and header["modes"] == ["with-tools", "without-tools", "blind", "blank"]
    assert header["tools"]["offered"] == ["code"] and "released evaluation" in header["tools_why"]
    assert header["prompts"]["with-tools"] != header["prompts"]["without-tools"]
    assert len(header["code"]) == 1 and re.fullmatch(r"[0-9a-f]{40}(-dirty)?", header["code"][0]["commit"])
    for mode in header["modes"]:
        saved = read_run(run / mode)
        assert not saved.problems and {t.id for t in saved.trajectories} == {f"{n}/0" for n in range(COUNT)}
    asked = world.replies.total()
    assert command(*given, folder=tmp_path)[0] == 0
    assert world.replies.total() == asked and max(world.replies.values()) == 1, "a run that is done asks nobody"


def test_a_saved_run_is_drawn_and_scored_again_without_its_model(world, data, tmp_path, capsys):
    run = tmp_path / "run"
    _, before = command(*words(world, data, run), folder=tmp_path)
    world.down = True
    code, again = command("bench", "--report", str(run), folder=tmp_path)
    assert (code, again) == (0, before)
    lines = (run / "with-tools" / "trajectories.jsonl").read_text().replace('"accuracy":1.0', '"accuracy":0.0')
    (run / "with-tools" / "trajectories.jsonl").write_text(lines)
    assert command("bench", "--report", str(run), folder=tmp_path)[1]["accuracy"] == 0
    code, again = command("bench", "--report", str(run), "--rescore", folder=tmp_path)
    assert (code, again) == (0, before)


def test_an_endpoint_that_is_down_is_no_wrong_answer(world, data, tmp_path, capsys):
    run = tmp_path / "run"
    given = words(world, data, run, "--n", "4", "--seed", "5")
    world.down = True
    code, figures = command(*given, folder=tmp_path)
    said = capsys.readouterr()
    assert code == 1 and "not today" in said.out and f"--run {run}" in said.out
    assert figures["n"] == 0 and figures["accuracy"] is None and (figures["low"], figures["high"]) == (0.0, 1.0)
    assert figures["infrastructure_failures"] == figures["infrastructure_failures.endpoint"] > 0
    assert figures["infrastructure_failures"] + figures["missing"] == figures["planned"] == 8
    assert "Traceback" not in said.err
    world.down = False
    code, figures = command(*given, folder=tmp_path)
    assert (code, figures["n"], figures["infrastructure_failures"], figures["missing"]) == (0, 4, 0, 0)
    assert max(world.replies.values()) == 1


def test_mistakes_are_told_before_anything_is_asked(world, data, tmp_path, capsys):
    run = tmp_path / "run"
    given = words(world, data, run)
    for said, changed in (
        ("there is no benchmark", ["bench", "vstr", "--policy", "x"]),
        ("name a benchmark", ["bench"]),
        ("name a benchmark", ["bench", "vstar", "--list"]),
        ("policy", ["bench", "vstar"]),
        ("", ["bench", "--policy", "x", "vstar"]),
        ("there is no folder", ["bench", "vstar", "--policy", str(tmp_path / "model"), "--data", str(data)]),
        ("cannot be used", words(world, data, data / "rows.jsonl")),
        ("is not there", ["bench", "vstar", "--policy", world.url, "--data", str(tmp_path / "nowhere")]),
        ("where to search is named", [*given, "--tools.search", str(data)]),
        ("nowhere to search", [*given, "--tools.offer", '["code", "search"]']),
        ("leave out code", [*given, "--tools.code", "false"]),
        ("blank_observations", [*given, "--tools.offer", "[]", "--blank-observations", "true"]),
        ("there is no setting", [*given, "--repeat", "3"]),
        ("4 turns would wait longer for one another", [*given, "--requests-per-minute", "1"]),
        ("--rescore", [*given, "--rescore"]),
        ("holds no benchmark run", ["bench", "--report", str(data)]),
    ):
        code, _ = command(*changed, folder=tmp_path)
        error = capsys.readouterr().err
        assert code == 2 and said in error and "Traceback" not in error, (said, error)
    assert not world.replies and not (run / "with-tools").exists()


def test_a_run_goes_on_only_as_it_began(world, data, tmp_path, capsys):
    run = tmp_path / "run"
    given = words(world, data, run, "--n", "3", "--no-tools", "false")
    code, figures = command(*given, folder=tmp_path)
    assert code == 0 and "no_tool_accuracy" not in figures
    assert command(*given, "--temperature", "0.7", "--repeats", "2", folder=tmp_path)[0] == 2
    error = capsys.readouterr().err
    assert "temperature was 0.0" in error and "repeats was 1" in error
    code, figures = command(*given, "--no-tools", "true", folder=tmp_path)
    assert code == 0 and figures["no_tool_n"] == 3, "a further mode is no other setting"


def test_a_model_without_tools(world, data, tmp_path):
    code, figures = command(*words(world, data, tmp_path / "run", "--tools.offer", "[]"), folder=tmp_path)
    assert (code, figures["mode"], figures["accuracy"]) == (0, "without-tools", 4 / 12)
    assert "tool_gain" not in figures


def test_a_benchmark_that_searches_wants_to_know_where(world, tmp_path, capsys):
    Image.new("RGB", (40, 40)).save(tmp_path / "board.png")
    row = {
        "query": "What is on board 3?",
        "answer": "D",
        "perception": 1,
        "search": 1,
        "reason": 0,
        "image": "board.png",
    }
    (tmp_path / "realx.jsonl").write_text(json.dumps(row))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "boards.md").write_text("# Boards\n\nOn board 3 is a D.\n")
    index, run = tmp_path / "index", tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        main(["index", "build", str(tmp_path / "texts"), "--out", str(index)])
    assert end.value.code == 0
    given = ["bench", "realx", "--policy", world.url, "--model", "m", "--data", str(tmp_path / "realx.jsonl"),
             "--run", str(run)]  # fmt: skip
    assert command(*given, folder=tmp_path)[0] == 2
    assert "is asked with search, and there is nowhere to search" in capsys.readouterr().err
    assert command(*given, "--tools.search", str(index), folder=tmp_path)[0] == 2
    error = capsys.readouterr().err
    assert "is asked with image_search, and what is searched has none" in error
    fix = re.search(r"--tools.offer '(.*)'", error)[1]
    assert json.loads(fix) == ["code", "search"]
    code, figures = command(*given, "--tools.search", str(index), "--tools.offer", fix, folder=tmp_path)
    assert (code, figures["accuracy"], figures["axis.search.accuracy"]) == (0, 1.0, 1.0)
    header = json.loads((run / "bench.json").read_text())
    assert header["tools"]["search"] is not None and header["tools_why"].startswith("chosen by hand")
    given += ["--tools.search", str(index), "--tools.offer", fix]
    (tmp_path / "texts" / "boards.md").write_text("# Boards\n\nOn board 3 is a C.\n")
    with pytest.raises(SystemExit):
        main(["index", "build", str(tmp_path / "texts"), "--out", str(index)])
    capsys.readouterr()
    assert command(*given, folder=tmp_path)[0] == 2
    assert f'tools.index was "{header["tools"]["index"]}"' in capsys.readouterr().err


def test_the_list_of_benchmarks(tmp_path, capsys):
    code, found = command("bench", "--list", folder=tmp_path)
    assert code == 0 and {"vstar", "realx", "math500"} <= found.keys() and "V*" in capsys.readouterr().out
    for one in found.values():
        assert one["scorer"] and one["tools"] and one["licence"]


TIMES = ("seconds_per_question", "no_tool_seconds_per_question", "blank_seconds_per_question")


@pytest.mark.slow
def test_killed_at_any_moment_it_comes_to_the_same(world, data, killed, tmp_path):
    more = ("--repeats", "3", "--temperature", "1.0", "--blank-observations", "true")
    _, whole = command(*words(world, data, tmp_path / "whole", *more), folder=tmp_path)
    once = world.replies.copy()
    world.replies.clear()
    world.slow, given = 0.3, words(world, data, tmp_path / "torn", *more)
    hits = sum(killed(*given, after=3.0 + 0.7 * number) for number in range(12))
    world.slow = 0.0
    code, figures = command(*given, folder=tmp_path)
    assert code == 0 and hits >= 3
    assert {k: v for k, v in figures.items() if k not in TIMES} == {k: v for k, v in whole.items() if k not in TIMES}
    assert world.replies.keys() == once.keys(), "the same was asked"
    twice = world.replies.total() - once.total()
    assert twice <= 4 * hits, "only what was under way when it was killed is asked again"
