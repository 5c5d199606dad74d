import pytest
from pydantic import ValidationError

from foveal.config import read_settings
from foveal.errors import ConfigError
from foveal.train.rl_settings import LossSettings, RlSettings


def test_the_defaults_are_the_papers():
    settings = LossSettings()
    assert (settings.clip_low, settings.clip_high, settings.kl, settings.mean) == (0.20, 0.30, 0.0, "token")


def test_grpo_is_symmetric_and_averages_sequences_but_yields_to_what_is_set():
    grpo = LossSettings(preset="grpo")
    assert (grpo.clip_low, grpo.clip_high, grpo.dual_clip, grpo.mean) == (0.2, 0.2, 0.0, "sequence")
    assert LossSettings(preset="grpo", clip_high=0.28).clip_high == 0.28
    assert read_settings(LossSettings, None, {"preset": "grpo", "dual-clip": "3"}).dual_clip == 3.0


def test_resolved_settings_read_back_as_they_were():
    grpo = LossSettings(preset="grpo", clip_high=0.28)
    assert LossSettings.model_validate(grpo.model_dump()) == grpo


@pytest.mark.parametrize("wrong", [{"dual_clip": 1.2}, {"clip_low": 1.0}, {"preset": "ppo"}, {"importance_cap": 0.5}])
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        LossSettings(**wrong)


def test_a_temperature_that_would_be_greedy_is_refused():
    values = {"model": "m", "questions": "q.jsonl"}
    assert RlSettings(**values, temperature=1e-4).temperature == 1e-4
    with pytest.raises(ValidationError, match="temperature"):
        RlSettings(**values, temperature=9e-5)


def test_an_unknown_preset_is_named():
    with pytest.raises(ConfigError, match="preset"):
        read_settings(LossSettings, None, {"preset": "reinforce"})
