"""The file of answers among threads and processes."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from foveal.errors import InputError
from foveal.tools.search.cache import Answers, Request
from foveal.tools.search.replay import RecordedText
from foveal.tools.search.settings import SearchSettings
from foveal.trajectory import SearchHit

SRC = Path(__file__).parents[3] / "src"


class Slow:
    """A provider that takes a while."""

    name = "slow"

    def __init__(self):
        self.asked = 0

    async def search(self, query, k):
        self.asked += 1
        await asyncio.sleep(0.15)
        return [SearchHit(title=query)]


def test_equal_searches_of_several_threads_are_asked_once(tmp_path):
    provider = Slow()
    settings = SearchSettings(mode="replay_or_record", cache=tmp_path / "a.sqlite")
    found = []

    def work():
        search = RecordedText(provider, Answers(tmp_path / "a.sqlite"), settings)
        found.append(asyncio.run(search.search("zebra", 5)))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[SearchHit(title="zebra")]] * 6
    assert provider.asked == 1


PROCESS = """
import asyncio, sys
from pathlib import Path
from foveal.tools.search.cache import Answers
from foveal.tools.search.replay import RecordedText
from foveal.tools.search.settings import SearchSettings
from foveal.trajectory import SearchHit

path = Path(sys.argv[1])

class Provider:
    name = "counted"
    async def search(self, query, k):
        with (path.parent / "asked.txt").open("a") as file:
            file.write(query + "\\n")
        await asyncio.sleep(0.05)
        return [SearchHit(title=query)]

async def main():
    search = RecordedText(Provider(), Answers(path), SearchSettings(mode="replay_or_record", cache=path))
    await asyncio.gather(*(search.search(f"query {n % 10}", 5) for n in range(20)))

asyncio.run(main())
"""


def test_equal_searches_of_several_processes_are_asked_once(tmp_path):
    path = tmp_path / "answers.sqlite"
    processes = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(path)], env={"PYTHONPATH": str(SRC)}) for _ in range(3)
    ]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert sorted((tmp_path / "asked.txt").read_text().splitlines()) == [f"query {n}" for n in range(10)]
    assert len(Answers(path)) == 10


def test_the_claim_of_a_process_that_died_ends(tmp_path):
    answers = Answers(tmp_path / "a.sqlite")
    request = Request("search", "slow", "zebra", 5, {})
    assert answers.claim(request.key, "dead")
    assert not answers.claim(request.key, "me")
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute("update claims set until = ?", (time.time() - 1,))
    connection.close()
    search = RecordedText(Slow(), answers, SearchSettings(mode="replay_or_record", cache=tmp_path / "a.sqlite"))
    assert asyncio.run(search.search("zebra", 5)) == [SearchHit(title="zebra")]
    assert not answers.claim(request.key, "late")  # the answer is there


def test_a_claim_is_given_back_by_its_owner_only(tmp_path):
    answers = Answers(tmp_path / "a.sqlite")
    assert answers.claim("key", "me")
    answers.release("key", "somebody else")
    assert not answers.claim("key", "next")
    answers.release("key", "me")
    assert answers.claim("key", "next")


def test_a_search_that_is_cancelled_gives_its_claim_back(tmp_path):
    class Hangs(Slow):
        async def search(self, query, k):
            self.asked += 1
            await asyncio.Event().wait()

    answers, provider = Answers(tmp_path / "a.sqlite"), Hangs()
    search = RecordedText(provider, answers, SearchSettings(mode="replay_or_record", cache=tmp_path / "a.sqlite"))
    key = Request("search", "slow", "zebra", 5, {}).key

    async def cancelled():
        task = asyncio.create_task(search.search("zebra", 5))
        while not provider.asked:
            await asyncio.sleep(0.01)
        assert not answers.claim(key, "next")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancelled())
    assert answers.claim(key, "next")


def test_a_disk_that_is_full_does_not_lose_what_was_paid_for(tmp_path, caplog):
    answers = Answers(tmp_path / "a.sqlite")
    search = RecordedText(Slow(), answers, SearchSettings(mode="record", cache=tmp_path / "a.sqlite"))
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute("drop table answers")
    connection.close()
    assert asyncio.run(search.search("zebra", 5)) == [SearchHit(title="zebra")]
    assert "used this once" in caplog.text


def test_words_that_look_the_same_are_one_query_and_addresses_are_as_they_are():
    def keys(tool, *sought):
        return len({Request(tool, "p", one, 5, {}).key for one in sought})

    assert keys("search", "ﬁne  day", " fine day") == 1 and keys("search", "fine", "fines") == 2
    assert keys("visit", "https://e.org/wiki/²", "https://e.org/wiki/2") == 2


def test_a_file_of_another_version_is_refused(tmp_path):
    Answers(tmp_path / "a.sqlite")
    with sqlite3.connect(tmp_path / "a.sqlite") as connection:
        connection.execute("pragma user_version = 2")
    connection.close()
    with pytest.raises(InputError, match="of this foveal"):
        Answers(tmp_path / "a.sqlite")


def test_a_new_file_is_opened_by_many_at_once(tmp_path):
    faults = []

    def work(path, start):
        start.wait()
        try:
            Answers(path)
        except InputError as error:
            faults.append(error)

    for turn in range(100):  # four in a hundred met each other before one waited for the other
        start = threading.Barrier(6)
        threads = [threading.Thread(target=work, args=(tmp_path / f"{turn}.sqlite", start)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert faults == []
