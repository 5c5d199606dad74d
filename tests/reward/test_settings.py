import pytest
from pydantic import ValidationError

from foveal.config import read_settings
from foveal.errors import ConfigError
from foveal.reward.settings import RewardSettings, Weights


def weights(settings: RewardSettings) -> dict[str, float]:
    return {name: value for name, value in settings.weights.model_dump().items() if value}


def test_presets():
    assert weights(RewardSettings()) == {"accuracy": 1.0, "format": 1.0}
    assert weights(RewardSettings(preset="paper")) == {"accuracy": 1.0, "format": 1.0}
    official = RewardSettings(preset="official")
    assert weights(official) == {"accuracy": 0.8, "format": 0.2, "search_penalty": 0.08}
    assert official.search_penalty_families == ("search",)
    assert weights(RewardSettings(preset="deepeyes")) == {"accuracy": 0.8, "format": 0.2, "tool_bonus": 1.2}


def test_what_is_given_beats_the_preset():
    given = RewardSettings(preset="official", weights=Weights(format=0.5), search_penalty_families=())
    assert weights(given) == {"accuracy": 0.8, "format": 0.5, "search_penalty": 0.08}
    assert given.search_penalty_families == ()


def test_settings_survive_the_record():
    settings = RewardSettings(preset="official", weights={"format": 0.0}, judge={"url": "http://x/v1", "model": "j"})
    assert RewardSettings.model_validate_json(settings.model_dump_json()) == settings


def test_from_file_and_flags(tmp_path):
    file = tmp_path / "reward.toml"
    file.write_text('preset = "deepeyes"\n[judge]\nurl = "http://127.0.0.1:8000/v1"\nmodel = "j"\n')
    settings = read_settings(RewardSettings, file, {"weights.format": "0.1", "judge.timeout": "5"})
    assert weights(settings) == {"accuracy": 0.8, "format": 0.1, "tool_bonus": 1.2}
    assert settings.judge is not None and settings.judge.timeout == 5.0


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"preset": "best"}, "preset"), ({"weights.speed": "1"}, "weights.speed"), ({"weights.format": "-1"}, "format"),
     ({"weights": "1"}, "weights"), ({"preset": "[1]"}, "preset"), ({"rules": '["luck"]'}, "rules")],
)  # fmt: skip
def test_mistakes_are_named(flags: dict[str, str], said: str):
    with pytest.raises(ConfigError, match=said):
        read_settings(RewardSettings, None, flags)


def test_the_cache_fits_into_the_limit():
    with pytest.raises(ValidationError, match="larger than max_tokens"):
        RewardSettings(overlong={"max_tokens": 100, "cache_tokens": 101})
