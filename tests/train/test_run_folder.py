import pytest

from foveal.errors import ConfigError
from foveal.train.run_folder import check_begun, check_inputs, check_settings, keep


@pytest.mark.parametrize(
    "name", ["model/model.safetensors", "metrics.jsonl", "rollouts/step-000001/trajectories.jsonl"]
)
def test_a_run_begins_in_no_folder_whose_files_it_would_write_over(tmp_path, name):
    """The start checkpoint may be `RUN/model`: training would replace it with what came out."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("mine")
    with pytest.raises(ConfigError, match=f"holds {name.split('/')[0]} of something else"):
        check_begun(tmp_path, resume=False)
    file.unlink()
    check_begun(tmp_path, resume=False)


def test_a_folder_that_holds_something_else_can_be_begun_in(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    check_begun(tmp_path, resume=False)


@pytest.mark.parametrize("text", ["{}", "[]", '{"files": {}}'])
def test_what_does_not_say_which_files_were_read_is_no_run(tmp_path, text):
    keep(tmp_path, {"seed": 1}, dict, 1)
    check_settings(tmp_path, {"seed": 1})
    check_inputs(tmp_path, dict, 1, "why")
    (tmp_path / "inputs.json").write_text(text)
    with pytest.raises(ConfigError, match=r"inputs\.json cannot be read"):
        check_inputs(tmp_path, dict, 1, "why")
