"""What ends a step too early, or keeps it from beginning."""

import time

import pytest

from foveal.tools.search.text import Document, TextIndex


def test_steps_need_those_before_them_and_say_so(world, config, curate, tmp_path, capsys):
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


def test_the_ceiling_ends_a_session_and_a_higher_one_goes_on_without_paying_twice(
    world, config, curate, tmp_path, capsys
):
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


def test_a_search_that_is_down_is_no_fault_of_the_student(world, config, curate, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    for step in ("add", "check", "difficulty"):
        curate(step, file, folder)
    call = '<think>Who knows?</think><tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>'
    server.reply = lambda body: call if len(body["messages"]) == 2 else "<think>Nobody.</think><answer>?</answer>"
    live = '{provider = "command", command = ["false"], max_retries = 0, failures_in_a_row = 999}'
    words = ("--tools.live", live, "--tools.code", "false", "--benefit.samples", "2")
    before = sum(server.replies.values())
    code, figures = curate("benefit", file, folder, *words)
    assert (code, figures["made"], figures["waiting"], figures["rows_out"]) == (1, 0, 9, 0)
    assert "search: " in figures["stopped"]
    paid = sum(server.replies.values())
    assert curate("benefit", file, folder, *words)[0] == 1 and sum(server.replies.values()) - paid < paid - before
    assert max(server.replies.values()) == 1, "who is asked again gets what was paid for"


def test_another_index_is_no_way_to_go_on(world, config, curate, tmp_path, capsys):
    file, folder = config(world().url), tmp_path / "curation"
    for name in ("one", "two", "copy"):
        TextIndex.create(tmp_path / name).add([Document("Zebra", "It has stripes." if name != "two" else "No.")])
    words = ("--skip", '["check", "difficulty"]', "--tools.code", "false", "--benefit.samples", "1")
    curate("add", file, folder)
    assert curate("benefit", file, folder, *words, "--tools.search", str(tmp_path / "one"))[1]["made"] == 12
    capsys.readouterr()
    assert curate("benefit", file, folder, *words, "--tools.search", str(tmp_path / "two"))[0] == 2
    assert "was asked in another way: tools was" in capsys.readouterr().err
    assert curate("benefit", file, folder, *words, "--tools.search", str(tmp_path / "copy"))[0] == 0


def test_a_rate_that_would_use_up_the_time_of_trajectories_is_refused(world, config, curate, tmp_path, capsys):
    server, folder = world(), tmp_path / "curation"
    file = config(server.url)
    curate("add", file, folder)
    words = ("--skip", '["check"]', "--limits.wall-seconds", "47", "--student.requests-per-minute", "20")
    assert curate("difficulty", file, folder, *words)[0] == 2
    assert "limits.wall_seconds (47)" in capsys.readouterr().err and not server.replies


def test_one_model_at_two_prices_is_refused(world, config, curate, tmp_path, capsys):
    folder = tmp_path / "curation"
    file = config(world().url)
    text = file.read_text().replace('model = "alice"', 'model = "bob"')
    file.write_text(text.replace("completion = 10.0", "completion = 9.0", 2))
    curate("add", file, folder)
    assert curate("synthesize", file, folder, "--skip", '["check", "difficulty", "benefit"]')[0] == 2
    assert "'bob' at different prices" in capsys.readouterr().err


def test_a_student_that_is_slow_is_asked_again_and_not_taken_for_wrong(world, config, curate, tmp_path):
    server, folder = world(), tmp_path / "curation"
    file, reply = config(server.url), server.reply

    def slow(body):
        if max(server.replies.values()) == 1:  # nobody was asked a second time yet
            time.sleep(4.0)
        return reply(body)

    server.reply = slow
    words = ("--skip", '["check"]', "--limits.wall-seconds", "2.0", "--difficulty.samples", "1")
    curate("add", file, folder)
    code, figures = curate("difficulty", file, folder, *words, "--difficulty.most-right", "0")
    assert (code, figures["made"], figures["rows_out"], figures["dropped.too easy"]) == (0, 12, 9, 3)
