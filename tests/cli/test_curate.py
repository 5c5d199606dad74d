"""The pipeline as a user runs it, over a loopback endpoint whose answers follow from what it is asked alone."""

import hashlib
import json
import random
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
from foveal.train.settings import SftSettings

COUNT = 12
LOOK = "<think>I look.</think>\n<code>\n```python\nprint(6 * 7)\n```\n</code>"


def said(number):
    return f"<think>It is 42 or not.</think><answer>{number}</answer>"


class World:
    """An endpoint with a student and two teachers. Questions are `What is N?`.

    The student answers N without tools if N < 3, with tools if N < 6 and the seed is even. alice is right where N is
    even; bob always, but on every fourth question he never looks.

    Args:
        trouble: Given a random number from 0 to 1 and the handler, may spoil the reply and return True.
    """

    def __init__(self, trouble=lambda dice, handler: False):
        self.replies, rng, world = Counter(), random.Random(1), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if trouble(rng.random(), self):
                    return
                world.replies[hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()] += 1
                text = world.reply(body)
                for stop in body.get("stop") or ():
                    text = text.partition(stop)[0]
                choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 500, "completion_tokens": 40}
                self.say(200, json.dumps({"choices": [choice], "usage": usage}).encode())

            def say(self, status, content, **headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(content), **headers}.items():
                    self.send_header(name.replace("_", "-"), str(value))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format, *args):
                return

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                """A client that was killed hangs up."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def reply(self, body):
        user = body["messages"][1]["content"]
        text = user if isinstance(user, str) else " ".join(part.get("text", "") for part in user)
        number, looked = int(re.search(r"What is (\d+)\?", text)[1]), len(body["messages"]) > 2
        tools = "<code>" in json.dumps(body["messages"][0])
        match body["model"]:
            case "student" if not tools:
                return said(number if number < 3 else "?")
            case "student":
                return (said(number if number < 6 and body["seed"] % 2 == 0 else "?")) if looked else LOOK
            case "alice":
                return (said(number if number % 2 == 0 else "?")) if looked else LOOK
            case _:
                return said(number) if looked or number % 4 == 0 else LOOK


@pytest.fixture
def world():
    started = []

    def make(**options):
        started.append(World(**options))
        return started[-1]

    yield make
    for one in started:
        one.server.shutdown()
        one.server.server_close()


@pytest.fixture
def config(tmp_path):
    """Raw rows with pictures, and the settings of a pipeline over an endpoint."""

    def make(url: str) -> Path:
        raw = tmp_path / "raw"
        raw.mkdir(exist_ok=True)
        rows = []
        for number in range(COUNT):
            Image.new("RGB", (64, 64), (20 * number, 0, 99)).save(raw / f"{number}.png")
            rows.append({"q": f"What is {number}?", "pic": f"{number}.png", "a": number, "kind": "xy"[number % 2]})
        rows.append({"q": "", "pic": "0.png", "a": 1})
        rows.append({"q": "What is 99?", "pic": "none.png", "a": 1})
        (raw / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (raw / "cot.jsonl").write_text(
            "".join(json.dumps({"q": f"{n} + {n}?", "s": f"Twice {n}.", "a": 2 * n}) + "\n" for n in range(9))
        )
        file = tmp_path / "curate.toml"
        who = f'policy = "{url}"\ntimeout = 1.0\nconcurrency = 4\nprice = {{ prompt = 1.0, completion = 10.0 }}'
        file.write_text(f"""
seed = 3
[[sources]]
name = "raw"
path = "{raw / "rows.jsonl"}"
licence = "CC0-1.0"
columns = {{ question = "q", images = "pic", answer = "a", family = "kind" }}
[student]
model = "student"
{who}
[[teachers]]
name = "alice"
model = "alice"
{who}
[[teachers]]
name = "bob"
model = "bob"
{who}
[tools]
code = true
[limits]
max_turns = 4
[difficulty]
samples = 4
[benefit]
samples = 4
[verify]
per_question = 2
[long_cot]
share = 0.5
[[long_cot.sources]]
name = "cot"
path = "{raw / "cot.jsonl"}"
columns = {{ question = "q", reasoning = "s", answer = "a" }}
""")
        return file

    return make


STEPS = ("add", "check", "difficulty", "benefit", "synthesize", "verify", "long-cot", "split")


def curate(step, config, folder, *words):
    """Run a step; its exit code and figures."""
    out = folder.parent / "figures.json"
    out.unlink(missing_ok=True)
    with pytest.raises(SystemExit) as end:
        main(["curate", step, "--config", str(config), "--folder", str(folder), "--json", str(out), *words])
    return end.value.code, json.loads(out.read_text()) if out.exists() else {}


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of everything that a curation is for."""
    files = [*folder.glob("*.json*"), *(folder / "verdicts").iterdir()]
    files += [path for name in ("sft", "rl", "pictures") for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_from_raw_rows_to_both_sets(world, config, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file, figures = config(server.url), {}
    for step in STEPS:
        code, figures[step] = curate(step, file, folder)
        assert code == 0, (step, capsys.readouterr())
    picked = {step: (figures[step]["rows_in"], figures[step]["rows_out"]) for step in STEPS if step != "split"}
    solved = figures["benefit"]["dropped.solved"]
    assert picked["add"] == (14, 12) and figures["add"]["dropped.no_question"] == 1
    assert picked["check"] == (12, 12) and picked["difficulty"] == (12, 9)
    assert figures["difficulty"]["dropped.too easy"] == 3 and figures["difficulty"]["made"] == 48
    assert picked["benefit"] == (9, 9 - solved) and 1 <= solved <= 3
    # bob looks at every question but 8; alice is right about even ones
    assert picked["synthesize"] == picked["verify"] == (9 - solved, 9 - solved)
    assert figures["synthesize"]["made"] == 2 * (9 - solved)
    split = figures["split"]
    good = sum(2 if number % 2 == 0 and number % 4 else 1 for number in range(6, 12)) + 3 - solved
    assert split["sft.train"] - good in range(4) and split["long_cot.train"] == split["sft.train"]
    run = read_run(folder / "sft" / "train")
    assert not run.problems and len(run.trajectories) == 2 * split["sft.train"]
    assert {t.settings["teacher"] for t in run.trajectories} == {"alice", "bob", "long-cot"}
    assert all(t.reward["accuracy"] == 1 for t in run.trajectories)
    assert 0 <= split["rl.train"] <= solved
    SftSettings.model_validate({"model": "x", "data": str(folder / "sft" / "train")})
    before = results(folder)
    for step in STEPS:
        assert curate(step, file, folder)[0] == 0
    assert results(folder) == before, "a pipeline that is done changes nothing"
    assert max(server.replies.values()) == 1, "nothing is paid for twice"


def test_thresholds_change_without_asking_again(world, config, tmp_path):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    for step in ("add", "check", "difficulty"):
        curate(step, file, folder)
    asked = sum(server.replies.values())
    code, figures = curate("difficulty", file, folder, "--difficulty.most-right", "4")
    assert (code, figures["rows_out"], figures["made"]) == (0, 12, 0)
    assert sum(server.replies.values()) == asked
    code, figures = curate("difficulty", file, folder, "--difficulty.samples", "5")
    assert (figures["made"], figures["rows_out"]) == (12, 9), "more samples ask only the missing ones"


def test_steps_need_those_before_them_and_say_so(world, config, tmp_path, capsys):
    file, folder = config(world().url), tmp_path / "curation"
    assert curate("difficulty", file, folder)[0] == 2
    assert "foveal curate add" in capsys.readouterr().err
    curate("add", file, folder)
    assert curate("difficulty", file, folder)[0] == 2
    assert "foveal curate check" in capsys.readouterr().err
    assert curate("difficulty", file, folder, "--skip", '["check"]')[0] == 0
    assert curate("difficulty", file, folder, "--skip", '["check"]', "--student.model", "alice")[0] == 2
    assert 'policy was "student"' in capsys.readouterr().err
    assert curate("window", file, folder, "--skip", '["check"]')[0] == 2
    assert curate("difficulty", file, folder, "--skip", '["check"]', "--student.key", "NO_SUCH_KEY")[0] == 2
    assert "NO_SUCH_KEY" in capsys.readouterr().err


def test_the_ceiling_ends_a_session_and_a_higher_one_goes_on_without_paying_twice(world, config, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    for step in ("add", "check", "difficulty", "benefit"):
        curate(step, file, folder)
    before = sum(server.replies.values())
    code, figures = curate("synthesize", file, folder, "--synthesis.ceiling.calls", "7")
    assert code == 1 and figures["calls"] == 7 and "7 of 7 calls" in figures["stopped"]
    out = capsys.readouterr().out
    assert sum(server.replies.values()) - before == 7 and "run the command again" in out
    assert out.count("7 of 7 calls") == 1 and "answered: the ceiling is reached" in out
    assert figures["money"] == pytest.approx(7 * (500 * 1.0 + 40 * 10.0) / 1e6)
    code, figures = curate("synthesize", file, folder)
    assert code == 0 and figures["waiting"] == 0
    assert max(server.replies.values()) == 1


def test_a_search_that_is_down_is_no_fault_of_the_student(world, config, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    for step in ("add", "check", "difficulty"):
        curate(step, file, folder)
    call = '<think>Who knows?</think><tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
    server.reply = lambda body: call if len(body["messages"]) == 2 else said("?")
    live = '{provider = "command", command = ["false"], max_retries = 0, failures_in_a_row = 999}'
    words = ("--tools.live", live, "--tools.code", "false", "--benefit.samples", "2")
    before = sum(server.replies.values())
    code, figures = curate("benefit", file, folder, *words)
    assert (code, figures["made"], figures["waiting"], figures["rows_out"]) == (1, 0, 9, 0)
    assert "search: " in figures["stopped"]
    paid = sum(server.replies.values())
    assert curate("benefit", file, folder, *words)[0] == 1 and sum(server.replies.values()) - paid < paid - before
    assert max(server.replies.values()) == 1, "who is asked again gets what was paid for"


def test_answers_that_no_judge_has_scored_are_told_and_finished_later(world, config, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file, ask = config(server.url), server.reply
    up = True

    def reply(body):
        if body["model"] != "judge":
            return ask(body)
        return "Verdict: wrong" if up else "Who am I to say?"

    server.reply = reply
    judge = ("--reward.judge.url", server.url, "--reward.judge.model", "judge", "--reward.judge.max-retries", "0")
    for step in ("add", "check"):
        curate(step, file, folder)
    up = False
    code, figures = curate("difficulty", file, folder, *judge)
    assert (code, figures["made"]) == (1, 48) and figures["waiting"] == 9
    assert f"36 answers have no score: run foveal score {folder / 'difficulty'} first" in figures["stopped"]
    up = True
    with pytest.raises(SystemExit) as end:
        main(["score", str(folder / "difficulty")])
    assert end.value.code == 0
    code, figures = curate("difficulty", file, folder, *judge)
    assert (code, figures["made"], figures["waiting"], figures["rows_out"]) == (0, 0, 0, 9)


def test_split_follows_rules_and_teachers_that_were_changed(world, config, tmp_path):
    folder = tmp_path / "curation"
    file = config(world().url)
    words = ("--long-cot.share", "0", "--skip", '["check", "difficulty", "benefit"]')
    for step in ("add", "synthesize"):
        curate(step, file, folder, *words)
    before = curate("split", file, folder, *words)[1]["sft.train"]
    assert curate("split", file, folder, *words, "--verify.most-tokens", "1")[1]["sft.train"] == 0
    head, _, rest = file.read_text().partition('[[teachers]]\nname = "alice"')
    file.write_text(head + rest[rest.index("[[teachers]]") :])
    figures = curate("split", file, folder, *words)[1]
    run = read_run(folder / "sft" / "train").trajectories
    assert 0 < figures["sft.train"] == len(run) < before and {t.settings["teacher"] for t in run} == {"bob"}


def test_a_rate_that_would_use_up_the_time_of_trajectories_is_refused(world, config, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    curate("add", file, folder)
    words = ("--skip", '["check"]', "--limits.wall-seconds", "47", "--student.requests-per-minute", "20")
    assert curate("difficulty", file, folder, *words)[0] == 2
    assert "limits.wall_seconds (47)" in capsys.readouterr().err and not server.replies


def test_one_model_at_two_prices_is_refused(world, config, tmp_path, capsys):
    folder = tmp_path / "curation"
    file = config(world().url)
    text = file.read_text().replace('model = "alice"', 'model = "bob"')
    file.write_text(text.replace("completion = 10.0", "completion = 9.0", 2))
    curate("add", file, folder)
    assert curate("synthesize", file, folder, "--skip", '["check", "difficulty", "benefit"]')[0] == 2
    assert "'bob' at different prices" in capsys.readouterr().err


def _trouble(dice, handler):
    """30 % of the replies are lost in one way or another."""
    if dice > 0.3:
        return False
    if dice < 0.06:
        handler.say(429, b"slow down", Retry_After=0)
    elif dice < 0.12:
        handler.say(500, b"oops")
    elif dice < 0.18:
        handler.say(200, b'{"choices": [{"mess')
    elif dice < 0.24:
        handler.say(200, b"<html>busy</html>", Content_Type="text/html")
    elif dice < 0.27:
        handler.close_connection = True
    else:
        time.sleep(1.2)  # longer than the client waits
        handler.close_connection = True
    return True


@pytest.mark.slow
def test_an_endpoint_that_fails_in_every_way_costs_tries_never_rows(world, config, tmp_path):
    calm, stormy = world(), world(trouble=_trouble)
    folders = []
    for server in (calm, stormy):
        folder = tmp_path / server.url[-8:-3]
        file = config(server.url)
        for step in STEPS:
            code, figures = curate(step, file, folder)
            assert (code, figures.get("failed", 0)) == (0, 0), (step, figures)
        folders.append(folder)
        for run in ("difficulty", "benefit", "synthesis/alice", "synthesis/bob"):
            names = [t.id for t in read_run(folder / run).trajectories]
            assert len(names) == len(set(names))
    quiet, loud = (_without_urls(results(folder)) for folder in folders)
    assert loud == quiet


def _without_urls(files):
    return {name: re.sub(rb"127\.0\.0\.1:\d+", b"", content) for name, content in files.items()}


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same(world, config, killed, tmp_path):
    file, whole, torn = config(world().url), tmp_path / "whole", tmp_path / "torn"
    rng = random.Random(0)
    for step in STEPS:
        words = ("curate", step, "--config", file, "--folder")
        began = time.monotonic()
        assert not killed(*words, whole, after=120)
        took = time.monotonic() - began
        hits = sum(killed(*words, torn, after=rng.uniform(0.3, 1.0) * took) for _ in range(20))
        assert not killed(*words, torn, after=120)
        assert hits, f"{step} was never killed at work"
    assert results(torn) == results(whole)
