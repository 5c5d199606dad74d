import threading

from foveal.curate.folder import alone, write_whole


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
