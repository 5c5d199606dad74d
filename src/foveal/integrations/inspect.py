"""inspect-ai runs our agent: a task for every benchmark, the agent as a solver, the benchmark's rule as the scorer.

    inspect eval foveal/bench -T name=realx-mini -T data=DIR -T search=DIR/index --model openai/gpt-4o
    inspect eval foveal/bench -T name=vstar -T data=vstar.tsv -T policy=CHECKPOINT --model none/none

Needs `pip install "foveal[inspect]"`. The model is inspect's (`--model`), or a checkpoint folder or endpoint of ours
(`policy`). What failed for no fault of the model is an error of the sample, never a wrong answer.
"""

# mypy: disable-error-code="import-not-found, untyped-decorator"
# (inspect-ai is not installed for development: it wants an older fsspec than `datasets` does)

import os
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
from foveal.bench.benchmark import Benchmark
from foveal.bench.catalogue import find
from foveal.bench.grading import grade
from foveal.bench.loading import load
from foveal.bench.opening import open_offered
from foveal.bench.run import limits, plan
from foveal.bench.scores import infrastructure, require_packages
from foveal.bench.settings import BenchSettings
from foveal.config import Sampling, read_settings
from foveal.errors import ConfigError, PolicyError
from foveal.integrations import inspectlog
from foveal.policy.base import Generation, Policy
from foveal.policy.openai import OpenAIPolicy, with_stop
from foveal.protocol import load_profile
from foveal.trajectory import ImageStore, Message, Tokens, Trajectory

KEPT = "foveal.trajectory"
"""Name of the trajectory in the store of a sample."""

OTHERS = {
    "repeats": "--epochs", "concurrency": "--max-samples", "ceiling": "--cost-limit", "judge": "foveal bench",
    "no_tools": "a second eval with tools.offer = []", "blind": "foveal bench", "blank_observations": "foveal bench",
}  # fmt: skip
"""Settings of `foveal bench` that have no effect here, and what has."""

_ROLES = {
    "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant, "tool": ChatMessageTool,
}  # fmt: skip


@task
def bench(
    name: str,
    data: str | None = None,
    n: int | None = None,
    seed: int = 0,
    policy: str | None = None,
    search: str | None = None,
    config: str | None = None,
) -> Task:
    """A benchmark.

    Args:
        name: As in `foveal bench --list`.
        data: Its file or folder; by default the hub.
        n: Questions, drawn by lot as `foveal bench` draws them; all by default.
        seed: Of the lot.
        policy: Checkpoint folder, or URL of an endpoint; by default inspect's model.
        search: Index folder, where the benchmark needs search.
        config: TOML file with settings of `foveal bench`: tools, prompt, limits and more.

    Raises:
        ConfigError: There is no such benchmark, or settings that are wrong or have no effect here.
        InputError: There is no question in the data.
    """
    benchmark = find(name)
    given = {"data": data, "n": n, "seed": seed}
    settings = _settings(policy, search, config, {key: str(value) for key, value in given.items() if value is not None})
    require_packages(benchmark)
    chosen = plan(benchmark, settings)
    items = [item for item in load(benchmark, settings.data, lambda problem: None) if item.id in chosen.ids]
    samples = [Sample(**inspectlog.sample(item, benchmark.suffix)) for item in items]
    return Task(
        dataset=MemoryDataset(samples, name=name),
        solver=agent(name, policy, search, config),
        scorer=rule(name),
        name=name,
        fail_on_error=False,
        metadata={
            "questions_sha256": chosen.sha256, "left_out": len(chosen.problems), "scorer": benchmark.scorer,
            "tools": list(benchmark.tools.names), "licence": benchmark.licence,
        },
    )  # fmt: skip


@solver
def agent(benchmark: str, policy: str | None = None, search: str | None = None, config: str | None = None) -> Any:
    """Answers a sample with our agent: its prompt, sandbox and searches, as `foveal bench` does.

    Args:
        benchmark: Whose tools and image budget are taken.
        policy: Checkpoint folder, or URL of an endpoint; by default inspect's model.
        search: Index folder, where the benchmark needs search.
        config: TOML file with settings of `foveal bench`.
    """
    record, settings = find(benchmark), _settings(policy, search, config, {})
    shared = _Shared(record, settings, policy)

    async def solve(state: Any, generate: Any) -> Any:
        images = ImageStore()
        asked = state.input if isinstance(state.input, str) else [one.model_dump(mode="json") for one in state.input]
        fields = {"input": asked, "target": list(state.target), "metadata": state.metadata}
        question = inspectlog.question(str(state.sample_id), fields, images)
        async with shared as runner:
            trajectory = await runner.run(question, images, trajectory_id=f"{question.id}/{state.epoch - 1}")
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
    """The agent of all samples. Its sandbox ends with the last sample under way, and starts again with the next."""

    def __init__(self, benchmark: Benchmark, settings: BenchSettings, policy: str | None):
        self._benchmark, self._settings, self._policy = benchmark, settings, policy
        self._opened = open_offered(benchmark, settings.tools, sessions=64)
        self._local: Policy | None = None
        self._users = 0

    async def __aenter__(self) -> Agent:
        if self._policy is not None and self._local is None:
            self._local = _open(self._policy, self._settings)
        self._users += 1
        prompt = self._settings.prompt
        profile = load_profile(prompt.profile, prompt.system_prompt, prompt.user_suffix)
        own = Sampling(temperature=self._settings.temperature, seed=self._settings.seed)
        tools, budgets = self._opened.tools, limits(self._benchmark, self._settings)
        return Agent(self._local or _InspectPolicy(), tools, profile, budgets, own)

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


def _settings(policy: str | None, search: str | None, config: str | None, given: dict[str, str]) -> BenchSettings:
    flags = {**given, "policy": policy or "inspect", **({"tools.search": search} if search is not None else {})}
    settings = read_settings(BenchSettings, Path(config) if config is not None else None, flags)
    for name in sorted(OTHERS.keys() & settings.model_fields_set):
        raise ConfigError(f"{name} has no effect here", f"leave it out, and take {OTHERS[name]}")
    return settings


def _open(policy: str, settings: BenchSettings) -> Policy:
    """The model of `policy`.

    Raises:
        ConfigError: An endpoint without the name of its model.
    """
    if not policy.startswith(("http://", "https://")):
        from foveal.policy.transformers import TransformersPolicy

        return TransformersPolicy(policy)
    if settings.model is None:
        raise ConfigError("the endpoint needs the name of its model", "write it into config: model = NAME")
    return OpenAIPolicy(policy, settings.model, os.environ.get(settings.key or "FOVEAL_API_KEY"), settings.timeout)
