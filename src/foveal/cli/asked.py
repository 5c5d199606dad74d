"""What commands share that ask a model many questions: opening whom the settings name, and a bar with the cost."""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from foveal.cli.common import api_key, is_endpoint, only_model, open_policy
from foveal.errors import ConfigError

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter

    from foveal.config import Limits
    from foveal.curate.settings import AskedSettings, PromptSettings
    from foveal.policy.base import Policy
    from foveal.policy.paid import Ledger
    from foveal.protocol import Profile
    from foveal.trajectory import Trajectory


def open_asked(who: "AskedSettings") -> "Policy":
    """The model of the settings.

    Raises:
        ConfigError: The environment variable of its key is not set, or the endpoint serves several models.
        InputError: There is no such folder, or the endpoint does not answer.
    """
    if who.key is not None and not os.environ.get(who.key):
        raise ConfigError(f"the environment variable {who.key} is not set", "export it, or correct key")
    if not is_endpoint(who.policy):
        return open_policy(who.policy, who.model)
    from foveal.policy.openai import OpenAIPolicy

    key = os.environ[who.key] if who.key is not None else api_key()
    model = who.model or only_model(who.policy, key)
    return OpenAIPolicy(who.policy, model, key, timeout=who.timeout, max_concurrency=who.concurrency)


def open_profile(prompt: "PromptSettings") -> "Profile":
    """The prompt of the settings.

    Raises:
        ConfigError: A file cannot be read, or the profile needs one.
    """
    from foveal.protocol import load_profile

    profile = load_profile(prompt.profile, prompt.system_prompt, prompt.user_suffix)
    return dataclasses.replace(profile, thumbnails=prompt.thumbnails)


def open_limiter(who: "AskedSettings", limits: "Limits") -> "AsyncLimiter | None":
    """Holds back requests as the settings say; None holds none.

    Args:
        who: Says how many requests may be sent, and how many trajectories share them.
        limits: Of a trajectory: what it waits for others is part of its time.

    Raises:
        ConfigError: The trajectories would use up their time waiting for one another.
    """
    from aiolimiter import AsyncLimiter

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


@contextlib.contextmanager
def asking_bar(step: str, total: int, ledger: "Ledger") -> "Iterator[Callable[[Trajectory], None]]":
    """A bar with the time to go and what was spent."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(step, total=total)

        def advance(trajectory: "Trajectory") -> None:
            spent = ledger.spent
            cost = f" {spent.calls} calls, {spent.tokens / 1e6:.2f} M tokens, {spent.money:.2f}" if spent.calls else ""
            bar.update(task, advance=1, description=step + cost)

        yield advance
