from pathlib import Path

import pytest

from foveal.config import read_settings
from foveal.errors import ConfigError
from foveal.train.settings import SftSettings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("recipes/*/sft.toml")), ids=lambda path: path.parent.name)
def test_every_recipe_holds_settings_that_exist(recipe):
    read_settings(SftSettings, recipe, {})


def test_the_paper_recipe_trains_as_the_paper_says():
    recipe = read_settings(SftSettings, ROOT / "recipes" / "paper_7b" / "sft.toml", {})
    assert (recipe.batch_size, recipe.learning_rate, recipe.epochs, recipe.freeze_vision) == (128, 1e-5, 3, True)


def test_the_documentation_lists_every_setting_and_no_other():
    table = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("## Settings")[1].split("\n## ")[0]
    rows = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert rows == list(SftSettings.model_fields)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_random_numbers_cannot_start_from_is_refused(seed):
    with pytest.raises(ConfigError, match="seed"):
        read_settings(SftSettings, None, {"model": "m", "data": "runs/a", "seed": str(seed)})


def test_one_folder_of_data_may_stand_alone():
    assert read_settings(SftSettings, None, {"model": "m", "data": "runs/a"}).data == (Path("runs/a"),)
