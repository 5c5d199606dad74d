"""A program of the user as a provider, run for real."""

import asyncio
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest
from PIL import Image

from foveal.tools.search.providers.command import CommandImages, CommandText
from foveal.tools.search.providers.http import Access, Trouble
from foveal.tools.search.providers.lens import Lens
from foveal.trajectory import ImageStore, SearchHit


@pytest.fixture
def program(tmp_path):
    """A Python program as a command: `program(source)`."""

    def make(source):
        path = tmp_path / "search.py"
        path.write_text("import json, sys\n" + textwrap.dedent(source))
        return (sys.executable, str(path))

    return make


def search(command, query="zebra", k=5, timeout=20.0, **options):
    return asyncio.run(CommandText(Access(options=options, timeout=timeout), command).search(query, k))


def trouble(command, **asked):
    with pytest.raises(Trouble) as raised:
        search(command, **asked)
    return raised.value


def test_json_in_json_out(program):
    command = program("""
        question = json.load(sys.stdin)
        hit = {"title": json.dumps(question, sort_keys=True), "link": "doc:1", "score": 0.5, "odd": [1]}
        other = {"title": "Zèbre", "date": "2024-05-02T10:00:00", "snippet": "a\\nb"}
        json.dump({"hits": [hit, other, 7, {}]}, sys.stdout)
    """)
    first, second = search(command, "zèbre 🦓", 3, language="fr", tool="mine")
    assert first.title == '{"k": 3, "language": "fr", "query": "z\\u00e8bre \\ud83e\\udd93", "tool": "search"}'
    assert (first.link, first.score) == ("doc:1", 0.5)
    assert second == SearchHit(title="Zèbre", date="2024-05-02", snippet="a b")
    assert len(search(command, k=1)) == 1


def test_a_picture_in_thumbnails_out(program):
    command = program("""
        question = json.load(sys.stdin)
        hit = {"title": question["tool"], "thumbnail": "data:image/png;base64," + question["image"]}
        json.dump({"hits": [hit, {"title": "local", "thumbnail": "/etc/hostname"}]}, sys.stdout)
    """)
    picture = Image.linear_gradient("L").convert("RGB")
    store = ImageStore()
    searched = CommandImages(Access(), command, Lens(None)).search(picture, 5, store)
    first, second = asyncio.run(searched)
    assert first.title == "image_search" and store.get(first.thumbnail).tobytes() == picture.tobytes()
    assert second.thumbnail is None


def test_a_program_that_does_not_read_its_input(program):
    assert search(program('print("""{"hits": []}""")'), query="x" * 1_000_000) == []


@pytest.mark.parametrize(
    ("source", "said", "kind"),
    [
        ("sys.exit(3)", "ended with code 3", "passing"),
        ("raise SystemExit('secret')", "ended with code 1", "passing"),
        ("import os; os.kill(os.getpid(), 9)", "ended with code -9", "passing"),
        ("print('no json')", "no JSON", "shape"),
        ("print('[' * 100000)", "no JSON", "shape"),
        ("print('[]')", "did not answer", "shape"),
        ("print('{}')", "did not answer", "shape"),
        ("print('{\"hits\": null}')", "did not answer", "shape"),
        ('print(\'{"error": "quota \\\\u001b[31m"}\')', "failed: quota", "passing"),
        ("while True: print('x' * 2**16)", "more than 10 MB", "shape"),
        ("sys.stdout.buffer.write(b'\\xff{}')", "no JSON", "shape"),
    ],
)
def test_programs_that_fail(program, source, said, kind):
    found = trouble(program(source))
    assert said in found.what and found.kind == kind
    assert "secret" not in str(found)


@pytest.mark.parametrize("command", [("/no/such/program",), ("/etc/hostname",), ("",), ("a\0b",)])
def test_programs_that_cannot_be_started(command):
    assert trouble(command).kind == "shape"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path):
    command = ("/bin/sh", "-c", f"sleep 60 & echo $$ $! > {tmp_path}/pids; wait")  # up at once, unlike Python
    assert "did not answer within 3 s" in trouble(command, timeout=3.0).what
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    deadline = time.monotonic() + 10
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(pids) == 2 and not any(alive(pid) for pid in pids)


def test_a_search_that_is_cancelled_leaves_no_program(program, tmp_path):
    command = program(f"""
        import os, time
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        time.sleep(60)
    """)

    async def cancelled():
        task = asyncio.create_task(CommandText(Access(), command).search("x", 5))
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not alive(pid)
