import json
import shutil

import pytest

from foveal.errors import ConfigError
from foveal.tools.search.folder import build_index
from foveal.train.rl_folder import check_run, keep_start
from foveal.train.rl_settings import RlSettings


@pytest.fixture
def begun(tmp_path):
    """Settings of a run that has begun, with files of their own in `tmp_path`, and its folder."""
    start = tmp_path / "start"
    start.mkdir()
    (start / "config.json").write_text("{}")
    (start / "model.safetensors").write_bytes(bytes(3 * 2**20))
    (tmp_path / "picture.png").write_bytes(b"as it was")
    (tmp_path / "questions.jsonl").write_text('{"id": "a", "text": "?", "images": ["picture.png"]}\n')
    (tmp_path / "documents").mkdir()
    (tmp_path / "documents" / "a.txt").write_text("The capital of Chad is N'Djamena.")
    build_index(tmp_path / "documents", tmp_path / "index")
    (tmp_path / "system.txt").write_text("Look.")
    (tmp_path / "tower").mkdir()
    (tmp_path / "tower" / "model.safetensors").write_bytes(b"eyes")
    settings = RlSettings(
        model=start,
        questions=(tmp_path / "questions.jsonl",),
        system_prompt=tmp_path / "system.txt",
        tools={"search": tmp_path / "index", "tower": tmp_path / "tower"},
        reward={"judge": {"url": "http://127.0.0.1:1/v1", "model": "j"}},
    )
    run = tmp_path / "run"
    run.mkdir()
    keep_start(settings, run, 2)
    return settings, run


def _changed(settings, **changed):
    return RlSettings.model_validate({**settings.model_dump(), **changed})


def test_the_same_run_goes_on_and_what_was_kept_of_its_start_stays(begun):
    settings, run = begun
    check_run(settings, run, resume=True, processes=2)
    check_run(settings, run, resume=True)
    before = (run / "inputs.json").read_bytes()
    keep_start(_changed(settings, steps=99), run, 2)
    assert (run / "inputs.json").read_bytes() == before
    assert json.loads((run / "settings.json").read_text())["steps"] == 99
    (run / "inputs.json").unlink()  # as in a run of before it was kept
    check_run(settings, run, resume=True, processes=3)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("questions.jsonl", b'{"id": "b", "text": "?", "images": ["picture.png"]}\n'),
        ("picture.png", b"another"),
        ("system.txt", b"Guess"),
        ("start/config.json", b'{"x": 1}'),
        ("start/model.safetensors", bytes(3 * 2**20 - 1) + b"1"),
        ("start/model.safetensors", b"1" + bytes(3 * 2**20 - 1)),
        ("start/model.safetensors", bytes(3 * 2**20 + 1)),
        ("start/model-2.safetensors", b"more"),
        ("tower/model.safetensors", b"other eyes"),
    ],
)
def test_a_file_that_holds_something_else_now_is_refused(begun, tmp_path, name, content):
    settings, run = begun
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        check_run(settings, run, resume=True, processes=2)
    assert refused.value.what.endswith(f"was begun when something else stood in {tmp_path / name}")


def test_an_index_of_something_else_is_refused_and_a_copy_of_it_is_not(begun, tmp_path):
    settings, run = begun
    (tmp_path / "index").rename(tmp_path / "before")
    shutil.copytree(tmp_path / "before", tmp_path / "index")
    check_run(settings, run, resume=True, processes=2)
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "documents" / "a.txt").write_text("The capital of Chad is Atlantis.")
    build_index(tmp_path / "documents", tmp_path / "index")
    with pytest.raises(ConfigError) as refused:
        check_run(settings, run, resume=True, processes=2)
    assert refused.value.what.endswith(f"something else stood in {tmp_path / 'index'}")


def test_weights_that_are_gone_are_refused(begun, tmp_path):
    settings, run = begun
    (tmp_path / "start" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        check_run(settings, run, resume=True, processes=2)


def test_a_copy_of_the_same_files_is_the_same(begun, tmp_path):
    settings, run = begun
    shutil.copytree(tmp_path / "start", tmp_path / "copy")
    shutil.rmtree(tmp_path / "start")
    (tmp_path / "copy").rename(tmp_path / "start")
    (tmp_path / "start" / "README.md").write_text("Notes do not matter.")
    check_run(settings, run, resume=True, processes=2)


def test_another_number_of_processes_is_refused(begun):
    settings, run = begun
    with pytest.raises(ConfigError, match="begun with processes: 2, and there are 1 now") as refused:
        check_run(settings, run, resume=True, processes=1)
    assert refused.value.fix.startswith("resume it with 2")


def test_what_lets_a_run_go_on_may_change_and_nothing_else_of_the_judge(begun):
    settings, run = begun
    moved = {"url": "http://127.0.0.1:2/v1", "model": "j", "timeout": 9.0, "max_retries": 0}
    less = {"micro_tokens": 1, "gradient_checkpointing": True, "max_batch": 1, "concurrency": 2}
    check_run(_changed(settings, **less, reward={"judge": moved}), run, True, 2)
    for judge in ({**moved, "model": "k"}, {**moved, "max_tokens": 1}, None):
        with pytest.raises(ConfigError, match="reward was"):
            check_run(_changed(settings, reward={"judge": judge}), run, True, 2)
    with pytest.raises(ConfigError, match=r"learning_rate was 1e-06"):
        check_run(_changed(settings, learning_rate=1e-5), run, True, 2)


def test_a_run_of_another_kind_is_told_as_other_settings(begun):
    settings, run = begun
    (run / "settings.json").write_text('{"model": "m", "epochs": 3}')  # of a cold start
    with pytest.raises(ConfigError, match="was started with other settings: model was m"):
        check_run(settings, run, resume=True, processes=2)


@pytest.mark.parametrize("name", ["settings.json", "inputs.json"])
def test_a_damaged_file_is_named(begun, name):
    settings, run = begun
    (run / name).write_bytes(bytes(8))
    with pytest.raises(ConfigError, match=rf"{name} cannot be read"):
        check_run(settings, run, resume=True, processes=2)
