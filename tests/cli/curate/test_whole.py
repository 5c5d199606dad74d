"""The pipeline as a user runs it, from raw questions to both sets."""

import contextlib
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from foveal.records import read_run
from foveal.train.settings import SftSettings

STEPS = ("add", "check", "difficulty", "benefit", "synthesize", "verify", "long-cot", "split")


def results(folder: Path) -> dict[str, bytes]:
    """The bytes of everything that a curation is for."""
    files = [*folder.glob("*.json*"), *(folder / "verdicts").glob("*")]
    files += [path for name in ("sft", "rl", "pictures") for path in (folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_from_raw_rows_to_both_sets(world, config, curate, tmp_path, capsys):
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
    assert split["sft.train"] - 2 * good in range(0, 8, 2) and 2 * split["long_cot.train"] == split["sft.train"]
    run = read_run(folder / "sft" / "train")
    assert not run.problems and len(run.trajectories) == split["sft.train"]
    card = curate("card", file, folder)[1]
    assert {name: card.get(name, 0) for name in ("sft.train", "long_cot.train", "rl.train")} == {
        name: split[name] for name in ("sft.train", "long_cot.train", "rl.train")
    }, "one name, one meaning"
    assert {t.settings["teacher"] for t in run.trajectories} == {"alice", "bob", "long-cot"}
    assert all(t.reward["accuracy"] == 1 for t in run.trajectories)
    assert 0 <= split["rl.train"] <= solved
    SftSettings.model_validate({"model": "x", "data": str(folder / "sft" / "train")})
    before = results(folder)
    for step in STEPS:
        assert curate(step, file, folder)[0] == 0
    assert results(folder) == before, "a pipeline that is done changes nothing"
    assert max(server.replies.values()) == 1, "nothing is paid for twice"


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
def test_an_endpoint_that_fails_in_every_way_costs_tries_never_rows(world, config, curate, tmp_path):
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


class Changed:
    """Whether anything in a folder is another than when this was made; `at`, when that was first seen."""

    def __init__(self, folder: Path):
        self.folder, self.at = folder, 0.0
        self.before = self.look()

    def look(self):
        found = set()
        with contextlib.suppress(FileNotFoundError):  # what is gone meanwhile has changed
            for path in self.folder.rglob("*"):
                found.add((path, (about := path.stat()).st_mtime_ns, about.st_size))
        return found

    def __call__(self):
        if self.at == 0.0 and self.look() != self.before:
            self.at = time.monotonic()
        return self.at > 0.0


@pytest.mark.slow
def test_killed_at_random_moments_it_comes_to_the_same(world, config, curate, killed, tmp_path):
    server, rng = world(), random.Random(0)
    file, whole, torn = config(server.url), tmp_path / "whole" / "data", tmp_path / "torn" / "data"
    student = ("--window.student.policy", server.url, "--window.student.model", "student", "--window.samples", "4")
    for number, step in enumerate((*STEPS, "window", "split", "card")):
        words = ("curate", step, *(student if step == "window" else ()), "--config", file, "--folder")
        changed, asked = Changed(whole), server.replies.total()
        assert not killed(*words, whole, after=120, began=changed)
        worked, needed = time.monotonic() - changed.at, server.replies.total() - asked
        hits, ends, asked, before = 0, 0, server.replies.total(), tmp_path / f"before-{number}"
        if torn.exists():
            shutil.copytree(torn, before)
        while hits < 20:
            if killed(*words, torn, after=rng.random() * worked, began=Changed(torn)):
                hits += 1
                continue
            ends += 1  # it came to its end between two kills: once more from the beginning
            assert results(torn) == results(whole), step
            shutil.rmtree(torn)
            if before.exists():
                shutil.copytree(before, torn)
        assert not killed(*words, torn, after=120)
        assert results(torn) == results(whole), step
        again = server.replies.total() - asked - (ends + 1) * needed
        assert 0 <= again <= hits * 2 * 4, "only what was on its way is paid for twice: 4 of each teacher"
