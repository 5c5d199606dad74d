"""inspect-ai runs our agent: a task for every benchmark, the agent as a solver, the benchmark's rule as the scorer.

    inspect eval foveal/bench -T name=realx-mini -T data=DIR -T search=DIR/index --model openai/gpt-4o
    inspect eval foveal/bench -T name=vstar -T data=vstar.tsv -T policy=CHECKPOINT --model none/none

Needs `pip install "foveal[inspect]"`. The model is inspect's (`--model`), or a checkpoint folder or endpoint of ours
(`policy`). What failed for no fault of the model is an error of the sample, never a wrong answer.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# (inspect-ai is not installed for development: it wants an older fsspec than `datasets` does)

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    GenerateConfig,
    ModelOutput,
    get_model,
)
from inspect_ai.scorer import Score, mean, scorer, stderr
from inspect_ai.solver import solver

from foveal.agent import Agent
from foveal.asking import seed_of
from foveal.bench.benchmark import Benchmark
from foveal.bench.catalogue import find
from foveal.bench.grading import grade
from foveal.bench.loading import load
from foveal.bench.opening import bare_profile, open_offered
from foveal.bench.run import limits, plan
from foveal.bench.scores import infrastructure, require_packages
from foveal.bench.settings import BenchSettings
from foveal.config import Sampling, read_settings
from foveal.curate.asked import open_asked, open_profile
from foveal.errors import ConfigError, PolicyError
from foveal.integrations import inspectlog
from foveal.policy.base import Generation
from foveal.policy.openai import with_stop
from foveal.policy.opening import is_endpoint
from foveal.trajectory import ImageStore, Message, Tokens, Trajectory

KEPT = "foveal.trajectory"
"""Name of the trajectory in the store of a sample."""

OTHERS = {
    "repeats": "--epochs", "concurrency": "--max-samples", "requests_per_minute": "--max-samples",
    "ceiling": "--cost-limit", "price": "the costs of inspect", "judge": "foveal bench",
    "no_tools": "a second eval with tools.offer = []", "blind": "foveal bench", "blank_observations": "foveal bench",
}  # fmt: skip
"""Settings of `foveal bench` that have no effect here, and what has."""

OF_MODEL = {
    "model": "--model", "key": "the key that inspect reads", "timeout": "--timeout", "temperature": "--temperature",
}  # fmt: skip
"""The same for inspect's own model."""

SESSIONS = 64
"""Code sessions and requests that are under way at most; inspect says how many samples are."""

_ROLES = {
    "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant, "tool": ChatMessageTool,
}  # fmt: skip


@task
def bench(
    name: str,
    data: str | None = None,
    n: int | None = None,
    seed: int | None = None,
    policy: str | None = None,
    search: str | None = None,
    config: str | None = None,
) -> Task:
    """A benchmark.

    Args:
        name: As in `foveal bench --list`.
        data: Its file or folder; by default the hub.
        n: Questions, drawn by lot as `foveal bench` draws them; all by default.
        seed: Of the lot and, where `policy` is given, of the sampling; by default that of `config`, or 0.
        policy: Checkpoint folder, or URL of an endpoint; by default inspect's model.
        search: Index folder, where the benchmark needs search.
        config: TOML file with settings of `foveal bench`: tools, prompt, limits and more.

    Raises:
        ConfigError: There is no such benchmark, or settings that are wrong or have no effect here.
        InputError: There is no question in the data.
    """
    benchmark = find(name)
    settings = _settings(policy, search, config, data=data, n=n, seed=seed)
    require_packages(benchmark)
    chosen = plan(benchmark, settings)
    items = [item for item in load(benchmark, settings.data, lambda problem: None) if item.id in chosen.ids]
    samples = [Sample(**inspectlog.sample(item, benchmark.suffix)) for item in items]
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=agent(name, policy, search, config, seed),
        scorer=rule(name),
        name=name,
        fail_on_error=False,
        metadata={
            "questions_sha256": chosen.sha256, "left_out": len(chosen.problems), "scorer": benchmark.scorer,
            "tools": list(benchmark.tools.names), "licence": benchmark.licence,
        },
    )  # fmt: skip


@solver
def agent(
    benchmark: str,
    policy: str | None = None,
    search: str | None = None,
    config: str | None = None,
    seed: int | None = None,
) -> Any:
    """Answers a sample with our agent: its prompt, sandbox and searches, as `foveal bench` does.

    Args:
        benchmark: Whose tools and image budget are taken.
        policy: Checkpoint folder, or URL of an endpoint; by default inspect's model.
        search: Index folder, where the benchmark needs search.
        config: TOML file with settings of `foveal bench`.
        seed: Of the sampling, where `policy` is given; by default that of `config`, or 0.

    Raises:
        ConfigError: There is no such benchmark, settings are wrong or have no effect here, or the environment variable
            of the key is not set.
        InputError: There is no such policy or index.
    """
    shared = _Shared(find(benchmark), _settings(policy, search, config, seed=seed), policy is None)

    async def solve(state: Any, generate: Any) -> Any:
        images = ImageStore()
        asked = state.input if isinstance(state.input, str) else [one.model_dump(mode="json") for one in state.input]
        fields = {"input": asked, "target": list(state.target), "metadata": state.metadata}
        question = inspectlog.question(str(state.sample_id), fields, images)
        name = f"{question.id}/{state.epoch - 1}"
        async with shared:
            trajectory = await shared.agent(name).run(question, images, trajectory_id=name)
        if (why := infrastructure(trajectory)) is not None:
            raise PolicyError(f"no measurement: {why}", "mend it, and give the log to inspect eval-retry")
        _note(state, trajectory, images)
        return state

    return solve


@scorer(metrics=[mean(), stderr()])
def rule(benchmark: str) -> Any:
    """The rule of a benchmark, between 0 and 1. Where it cannot tell, the answer counts as wrong, and that is told.

    Args:
        benchmark: Its name.
    """
    record = find(benchmark)

    async def score(state: Any, target: Any) -> Any:
        trajectory = Trajectory.model_validate(state.store.get(KEPT))
        graded = await grade(record, trajectory)
        about = {"by": graded.by, "problem": graded.problem, **state.metadata["foveal_run"]}
        return Score(value=graded.score, answer=trajectory.answer, explanation=graded.problem or None, metadata=about)

    return score


class _Shared:
    """What all samples share. The sandbox ends with the last sample under way, and starts again with the next."""

    def __init__(self, benchmark: Benchmark, settings: BenchSettings, of_inspect: bool):
        self._settings, self._limits = settings, limits(benchmark, settings)
        self._opened = open_offered(benchmark, settings.tools, SESSIONS)
        offered = self._opened.tools.offered
        if offered and settings.no_tools_prompt is not None:
            raise ConfigError("no_tools_prompt has no effect here", "it is for an eval with tools.offer = []")
        self._profile = open_profile(settings.prompt) if offered else bare_profile(settings)
        # An endpoint takes what inspect sends it; a checkpoint here keeps its own, smaller number in memory.
        at_once = {"concurrency": SESSIONS} if is_endpoint(settings.policy) else {}
        self._policy = None if of_inspect else open_asked(settings.model_copy(update=at_once), settings.limits)
        self._users = 0

    def agent(self, trajectory: str) -> Agent:
        """Who answers in a trajectory of this id: as in `foveal bench`, every one has a seed of its own."""
        policy = self._policy or _InspectPolicy()
        seed = seed_of(self._settings.seed, policy.name, trajectory)
        sampling = Sampling(temperature=self._settings.temperature, seed=seed)
        return Agent(policy, self._opened.tools, self._profile, self._limits, sampling)

    async def __aenter__(self) -> None:
        self._users += 1

    async def __aexit__(self, *error: object) -> None:
        self._users -= 1
        if self._users == 0 and self._opened.sandbox is not None:
            await self._opened.sandbox.aclose()


class _InspectPolicy:
    """The model that inspect evaluates. How it draws tokens is inspect's to say (`--temperature`, `--seed`)."""

    def __init__(self) -> None:
        self._model = get_model()
        self.name = str(self._model)

    def open(self, images: ImageStore, sampling: Sampling) -> "_InspectConversation":
        return _InspectConversation(self._model, images)


class _InspectConversation:
    def __init__(self, model: Any, images: ImageStore):
        self._model, self._images = model, images
        self._messages: list[Any] = []

    @property
    def num_tokens(self) -> int | None:
        return None

    def cost(self, message: Message) -> int | None:
        return None

    async def append(self, message: Message) -> None:
        self._messages.append(_chat(inspectlog.message(message, self._images)))

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        config = GenerateConfig(max_tokens=max_tokens, stop_seqs=list(stop))
        output = await self._model.generate(self._messages, config=config)
        if output.error or not output.choices:
            raise PolicyError(f"{self._model} gave no answer: {output.error or 'no choice'}", "look at the log")
        cut = output.stop_reason in ("max_tokens", "model_length")
        text = with_stop(_said(output.message), stop, cut)
        self._messages.append(ChatMessageAssistant(content=text))
        usage = output.usage
        counts = (usage.input_tokens, usage.output_tokens) if usage is not None else (None, None)
        return Generation(text, "length" if cut and not text.endswith(tuple(stop)) else "stop", *counts)

    def tokens(self) -> Tokens | None:
        return None

    async def close(self) -> None:
        self._messages.clear()


def _said(message: Any) -> str:
    """The text of a reply, with reasoning that came apart put in front."""
    parts = [] if isinstance(message.content, str) else message.content
    thought = "\n".join(part.reasoning for part in parts if part.type == "reasoning" and not part.redacted)
    text: str = message.text
    return f"<think>{thought.strip()}</think>\n{text}" if thought.strip() else text


def _chat(message: dict[str, Any]) -> Any:
    return _ROLES[message["role"]].model_validate(message)


def _note(state: Any, trajectory: Trajectory, images: ImageStore) -> None:
    """Put a trajectory into the log: its messages, its figures, and all of it but tokens and pictures."""
    bare = trajectory.model_copy(update={"tokens": None})
    state.messages = [_chat(one) for one in inspectlog.messages(trajectory, images)]
    state.output = ModelOutput.from_content(trajectory.policy, trajectory.answer or "")
    state.metadata["foveal_run"] = inspectlog.about(trajectory)
    state.store.set(KEPT, bare.model_dump(mode="json"))


def _settings(policy: str | None, search: str | None, config: str | None, **given: str | int | None) -> BenchSettings:
    flags = {"policy": policy or "inspect", "tools.search": search, **given}
    named = {name: str(value) for name, value in flags.items() if value is not None}
    file = Path(config) if config is not None else None
    settings = read_settings(BenchSettings, file, named)
    if policy is None and file is not None and "policy" in tomllib.loads(file.read_text(encoding="utf-8")):
        raise ConfigError(f"{file} names a policy, and inspect's model is asked", "take it out, or say -T policy=...")
    others = OTHERS if policy is not None else OTHERS | OF_MODEL
    for name in sorted(others.keys() & settings.model_fields_set):
        raise ConfigError(f"{name} has no effect here", f"leave it out, and take {others[name]}")
    return settings
