import threading

import pytest

from foveal.errors import InputError
from foveal.files import alone, replacing, write_content, write_whole


def test_one_process_writes_to_a_folder(tmp_path):
    folder = tmp_path / "new"
    with alone(folder), pytest.raises(InputError, match="another process is writing to"), alone(folder):
        pass
    with alone(folder):
        assert folder.is_dir()


def test_a_file_stays_the_old_one_until_the_new_one_is_whole(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text("old")
    with replacing(file) as part:
        part.write("new")
        part.flush()
        assert file.read_text() == "old"
    assert file.read_text() == "new" and list(tmp_path.iterdir()) == [file]
    with pytest.raises(ZeroDivisionError), replacing(file) as part:
        part.write("half")
        _ = 1 // 0
    assert file.read_text() == "new"


def test_everybody_may_read_what_is_named_by_its_content(tmp_path):
    """A file of `mkstemp` is its owner's alone: pages that another user serves had no pictures."""
    for _ in range(2):
        write_content(tmp_path / "a.png", b"picture")
    (file,) = tmp_path.iterdir()
    assert file.read_bytes() == b"picture" and file.stat().st_mode & 0o777 == 0o644


def test_a_file_is_written_by_one_at_a_time(tmp_path):
    """Two that wrote at once shared the file that the new text goes to first."""
    file, texts = tmp_path / "card.json", [letter * 200_000 for letter in "abcdefgh"]
    threads = [threading.Thread(target=write_whole, args=(file, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_text() in texts and [path.name for path in tmp_path.iterdir()] == ["card.json"]


def test_what_takes_no_time_waits_for_another(tmp_path):
    with alone(tmp_path):
        thread = threading.Thread(target=write_whole, args=(tmp_path / "a", "text"))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not (tmp_path / "a").exists()
    thread.join()
    assert (tmp_path / "a").read_text() == "text"
