from pathlib import Path

import pytest

from foveal.config import read_settings
from foveal.curate.settings import CurateSettings
from foveal.errors import ConfigError

RECIPES = Path(__file__).parents[2] / "recipes" / "micro"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (
            {"difficulty.samples": "2"},
            r"difficulty: .*most_right is 2 of 2 samples, so that no question can be too easy",
        ),
        ({"difficulty.most-right": "8"}, r"lower most_right, or raise samples"),
        ({"benefit.samples": "2", "benefit.least-right": "3"}, r"benefit: .*least_right is 3 of 2 samples"),
    ],
)
def test_a_threshold_that_nothing_can_cross_is_refused(flags, why):
    with pytest.raises(ConfigError, match=why):
        read_settings(CurateSettings, None, flags)


def test_the_hardest_threshold_of_few_samples_is_allowed():
    flags = {"difficulty.samples": "1", "difficulty.most-right": "0", "benefit.samples": "1"}
    assert read_settings(CurateSettings, None, flags).difficulty.most_right == 0


@pytest.mark.parametrize("recipe", ["curate.toml", "curation.toml"])
def test_the_recipes_can_be_read(recipe):
    assert read_settings(CurateSettings, RECIPES / recipe, {}).teachers


@pytest.mark.parametrize(
    "flags",
    [
        {"student.policy": "http://h/v1?api-key=s3cret"},
        {"student.policy": "https://h/v1#s3cret"},
        {"reward.judge.url": "http://h/v1?key=s3cret", "reward.judge.model": "j"},
    ],
)
def test_an_endpoint_with_a_query_is_refused_without_saying_it(flags):
    """Paths are put behind the address, so it would not be reached; and what stands there is often a key."""
    with pytest.raises(ConfigError, match=r"ends before \? and #; keys go into environment variables") as error:
        read_settings(CurateSettings, None, flags)
    assert "s3cret" not in str(error.value)
    assert read_settings(CurateSettings, None, {"student.policy": "runs/why?"}).student.policy == "runs/why?"
