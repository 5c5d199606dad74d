"""What rollouts happen in: questions, tools and prompt, all checked before a model is loaded. No torch here."""

from dataclasses import replace
from typing import NamedTuple

from foveal.curate.questions import StoredQuestion, read_questions
from foveal.errors import InputError
from foveal.policy.tower import Tower
from foveal.protocol import Profile, load_profile
from foveal.reward.score import check_settings
from foveal.tools.opening import open_tools
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools
from foveal.train.rl_settings import RlSettings


class Environment(NamedTuple):
    """The questions, and how they are asked."""

    questions: list[StoredQuestion]
    profile: Profile
    tools: Tools
    sandbox: LocalSandbox | None
    """The code sandbox of `tools`, to be closed at the end."""


def open_environment(settings: RlSettings) -> Environment:
    """Open everything that the settings name, but no model.

    Raises:
        InputError: The checkpoint folder, a question set or the index folder cannot be used, or nobody knows the
            answer to a question.
        ConfigError: A prompt file cannot be read.
        MissingDependency: A rule of the reward needs a package that is not installed.
    """
    if not (settings.model / "config.json").is_file():
        raise InputError(f"{settings.model} is no checkpoint folder: it has no config.json", "correct model")
    check_settings(settings.reward)
    questions = read_questions(settings.questions)
    if unknown := next((question for question in questions if not question.row.gold), None):
        raise InputError(f"{unknown.where}: the question has no accepted answers", "give it some in gold, or remove it")
    profile = load_profile(settings.profile, settings.system_prompt, settings.user_suffix)
    tools, sandbox = open_tools(settings.tools, settings.concurrency, Tower)
    return Environment(questions, replace(profile, thumbnails=settings.thumbnails), tools, sandbox)
