"""From settings to somebody who can be asked: the model, its prompt, and how often it may be asked."""

import dataclasses
import os

from aiolimiter import AsyncLimiter

from foveal.config import Limits
from foveal.curate.settings import AskedSettings, PromptSettings
from foveal.errors import ConfigError
from foveal.policy.base import Policy
from foveal.policy.openai import OpenAIPolicy
from foveal.policy.opening import api_key, is_endpoint, only_model, open_policy
from foveal.protocol import Profile, load_profile


def open_asked(who: AskedSettings, limits: Limits) -> Policy:
    """The model of the settings.

    Args:
        who: Names it, and says how often it may be asked.
        limits: Of a trajectory: what it waits for others is part of its time.

    Raises:
        ConfigError: The environment variable of its key is not set, the endpoint serves several models, or the
            trajectories would use up their time waiting for one another.
        InputError: There is no such folder, or the endpoint does not answer.
    """
    if who.key is not None and not os.environ.get(who.key):
        raise ConfigError(f"the environment variable {who.key} is not set", "export it, or correct key")
    if not is_endpoint(who.policy):
        return open_policy(who.policy, who.model, who.concurrency)
    limiter = _limiter(who, limits)
    key = os.environ[who.key] if who.key is not None else api_key()
    model = who.model or only_model(who.policy, key)
    return OpenAIPolicy(who.policy, model, key, timeout=who.timeout, max_concurrency=who.concurrency, limiter=limiter)


def open_profile(prompt: PromptSettings) -> Profile:
    """The prompt of the settings.

    Raises:
        ConfigError: A file cannot be read, or the profile needs one.
    """
    profile = load_profile(prompt.profile, prompt.system_prompt, prompt.user_suffix)
    return dataclasses.replace(profile, thumbnails=prompt.thumbnails)


def _limiter(who: AskedSettings, limits: Limits) -> AsyncLimiter | None:
    """Holds back requests as the settings say; None holds none."""
    if (rate := who.requests_per_minute) is None:
        return None
    if who.concurrency * limits.max_turns * 60 / rate > limits.wall_seconds:
        raise ConfigError(
            f"at {rate:g} requests a minute, {who.concurrency} trajectories of up to {limits.max_turns} turns would "
            f"wait longer for one another than limits.wall_seconds ({limits.wall_seconds:g}), and come to nothing",
            "lower concurrency, or raise limits.wall_seconds",
        )
    # One at a time, so far apart: a minute's worth at once would be refused.
    return AsyncLimiter(1, 60 / rate)
