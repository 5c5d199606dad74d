"""An RL step by a subclass of TRL's `GRPOTrainer`, on the same agent, tools, reward and token ids as ours.

The subclass overrides the private `_generate`, as TRL's public hooks carry no pictures that are made mid-rollout.
Turns are written by `model.generate` from all ids and pictures so far; what comes out goes back as ids, mask and
pictures, and TRL scores, compares and learns: DAPO, clip 0.2 / 0.3, no KL. Needs trl (the extra `dev`).

What it is spared: it computes no log-probs while it samples (TRL needs none here), its vision tower is frozen as
ours is, no activation checkpointing, micro-batches of a size that suits a CPU, and the time in which the trainer is set
up. Trajectories that a limit ended have no loss, as with us.
"""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import PrinterCallback, StoppingCriteria, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from foveal.policy.encoding import ChatEncoder, ImageOnlyProcessor
from foveal.policy.engine import Request
from foveal.policy.transformers import no_progress_bars
from foveal.train.advantage import has_loss
from foveal.train.environment import Environment
from foveal.train.rl_settings import RlSettings
from foveal.trajectory import ImageStore, Trajectory
from lock_step import EnginePolicy, Job, LockStep, in_lock_step, make

MICRO_BATCH = 8
"""Sequences of one forward pass of TRL's training."""


class Step(NamedTuple):
    """What one RL step did, and its time."""

    trajectories: list[Trajectory]
    rollout_seconds: float
    seconds: float

    @property
    def speed(self) -> float:
        """Trajectories per second."""
        return len(self.trajectories) / self.seconds

    @property
    def tokens(self) -> int:
        """Tokens that the model wrote."""
        return sum(turn.completion_tokens or 0 for one in self.trajectories for turn in one.turns)


class Ends(StoppingCriteria):
    """A row ends at a stop string, or where its own limit of tokens is."""

    def __init__(self, encoder: ChatEncoder, prompt: int, requests: Sequence[Request]):
        self.encoder, self.prompt = encoder, prompt
        self.stop = requests[0].stop
        self.limits = prompt + torch.tensor([len(request.uniforms) for request in requests])
        self.reach = max(len(stop.encode()) for stop in self.stop)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object) -> torch.Tensor:
        """(rows,) bool: which are done."""
        begin = max(self.prompt, input_ids.shape[1] - self.reach)
        tails = self.encoder.decode_batch(input_ids[:, begin:].tolist())
        stopped = torch.tensor([any(stop in tail for stop in self.stop) for tail in tails])
        return stopped | (input_ids.shape[1] >= self.limits)


def by_generate(model: Any, encoder: ChatEncoder, rows: int) -> LockStep:
    """Lock-step over `model.generate` with batches of at most `rows` sequences, padded on the left."""

    async def write(requests: list[Request]) -> None:
        # Nothing else is to be done meanwhile: the event loop may stand still.
        for begin in range(0, len(requests), rows):
            _generate(model, encoder, requests[begin : begin + rows])

    return LockStep(encoder, write)


@torch.no_grad()
def _generate(model: Any, encoder: ChatEncoder, requests: Sequence[Request]) -> None:
    width = max(len(request.ids) for request in requests)
    missing = [width - len(request.ids) for request in requests]
    ids = torch.tensor([[encoder.padding] * gap + request.ids for gap, request in zip(missing, requests, strict=True)])
    patches = [picture.patches for request in requests for picture in request.pictures]
    model.eval()
    out = model.generate(
        input_ids=ids,
        attention_mask=(torch.arange(width) >= torch.tensor(missing)[:, None]).long(),
        mm_token_type_ids=(ids == encoder.image_pad).int(),
        pixel_values=torch.from_numpy(np.concatenate([one.values for one in patches])),
        image_grid_thw=torch.tensor([one.grid for one in patches]),
        do_sample=True,
        temperature=requests[0].sampling.temperature,
        top_k=0,
        max_new_tokens=max(len(request.uniforms) for request in requests),
        suppress_tokens=list(encoder.never_sampled),
        stopping_criteria=[Ends(encoder, width, requests)],
        eos_token_id=sorted(encoder.turn_enders),
        pad_token_id=encoder.padding,
    )
    model.train()
    for row, request in zip(out[:, width:].tolist(), requests, strict=True):
        _take(encoder, request, row)


def _take(encoder: ChatEncoder, request: Request, row: list[int]) -> None:
    """What a row sampled, up to its end: what follows is padding."""
    reach = max(len(stop.encode()) for stop in request.stop)
    for token in row[: len(request.uniforms)]:
        request.sampled.append(token)
        request.logprobs.append(0.0)
        tail = encoder.decode(request.sampled[-reach:])
        if token in encoder.turn_enders or any(stop in tail for stop in request.stop):
            request.finish = "stop"
            return


class AgentGRPO(GRPOTrainer):
    """Rollouts by the agent: prompts are numbers of questions, `roll_out` makes the trajectories."""

    roll_out: Any
    images: ImageStore
    trajectories: list[Trajectory]
    rollout_seconds: float
    settings: RlSettings

    def _generate(self, prompts: list[list[dict[str, str]]]) -> tuple[Any, ...]:
        began = time.perf_counter()
        self.trajectories = self.roll_out([int(prompt[0]["content"]) for prompt in prompts])
        self.rollout_seconds = time.perf_counter() - began
        prompt_ids, completion_ids, masks, pictures = [], [], [], []
        for one in self.trajectories:
            first = one.tokens.loss_mask.index(1)
            trained = has_loss(one, mask_cut=self.settings.mask_cut, mask_malformed=self.settings.mask_malformed)
            prompt_ids.append(list(one.tokens.ids[:first]))
            completion_ids.append(list(one.tokens.ids[first:]))
            masks.append([number * trained for number in one.tokens.loss_mask[first:]])
            pictures.append([self.images.get(ref) for ref in one.images])
        completions = [[{"role": "assistant", "content": one.turns[-1].text}] for one in self.trajectories]
        extra = {"total": [one.reward.get("total") for one in self.trajectories]}
        # All pictures count as those of tools: then TRL takes them as they are, wherever they stand.
        return prompt_ids, completion_ids, masks, completions, None, extra, pictures, pictures


class _Clock(TrainerCallback):
    """Times the step alone, without what `train` sets up and clears away."""

    began = ended = 0.0

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.began = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.ended = time.perf_counter()


class TrlSide:
    """TRL's side of the comparison.

    Args:
        model: Trained in place; all but its vision tower.
        encoder: Of the model.
        settings: The same as ours.
        environment: The same as ours.
        runner: Runs what is async, in the event loop of the sandbox.
    """

    def __init__(
        self, model: Any, encoder: ChatEncoder, settings: RlSettings, environment: Environment, runner: asyncio.Runner
    ):
        self.model, self.encoder, self.settings = model, encoder, settings
        self.environment, self.runner = environment, runner
        model.model.visual.requires_grad_(False)
        self.processor = ImageOnlyProcessor(encoder.image_processor, encoder.tokenizer, encoder.tokenizer.chat_template)

    def step(self, work: Sequence[Job], images: ImageStore, rows: int, at_once: int, seed: int) -> Step:
        """One optimizer step on trajectories of the jobs.

        Args:
            work: In groups of `settings.rollouts` of the same question.
            images: Holds the pictures.
            rows: Most sequences of one call of `model.generate`.
            at_once: Trajectories that go in lock-step; with 1, one after the other.
            seed: Of the sampling.
        """
        lock_step = by_generate(self.model, self.encoder, rows)
        policy = EnginePolicy(lock_step, "generate")

        async def everyone(numbers: list[int]) -> list[Trajectory]:
            group = self.settings.rollouts
            # Every question comes as often as it has rollouts: the first job of its group stands for all.
            asked = [work[number * group] for number in numbers]
            return await in_lock_step(
                lock_step, lambda job: make(policy, self.environment, self.settings, job, images), asked, at_once
            )

        with tempfile.TemporaryDirectory() as folder, no_progress_bars():
            trainer = self._trainer(folder, len(work))
            trainer.roll_out = lambda numbers: self.runner.run(everyone(numbers))
            trainer.images, trainer.settings = images, self.settings
            clock = _Clock()
            trainer.add_callback(clock)
            torch.manual_seed(seed)
            before = [weight.detach().clone() for weight in self.model.parameters()]
            trainer.train()
        pairs = zip(before, self.model.parameters(), strict=True)
        assert any(not torch.equal(old, new) for old, new in pairs), "TRL changed no weight"
        return Step(trainer.trajectories, trainer.rollout_seconds, clock.ended - clock.began)

    def _trainer(self, folder: str, completions: int) -> AgentGRPO:
        settings = self.settings
        arguments = GRPOConfig(
            output_dir=folder,
            loss_type="dapo",
            epsilon=settings.loss.clip_low,
            epsilon_high=settings.loss.clip_high,
            beta=0.0,
            num_generations=settings.rollouts,
            per_device_train_batch_size=MICRO_BATCH,
            gradient_accumulation_steps=completions // MICRO_BATCH,
            max_completion_length=settings.limits.max_context,
            temperature=settings.temperature,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="constant",
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            shuffle_dataset=False,
            max_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        numbers = range(completions // settings.rollouts)
        trainer = AgentGRPO(
            model=self.model,
            processing_class=self.processor,
            reward_funcs=_total,
            train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": str(n)}]} for n in numbers]),
            args=arguments,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.tools = [_total]  # any tool at all: TRL then builds pixels over prompt and completion
        return trainer


def _total(total: list[float], **columns: object) -> list[float]:
    """The reward that the rollouts were scored with."""
    return total
