"""Settings of the micro pipeline. No torch, so that `--help` is quick."""

from typing import Literal, get_args

from pydantic import Field

from foveal.config import Settings

Teacher = Literal["near", "far"]
"""Who answers the questions of a cold start (`micro.teacher`)."""

ArmName = Literal[
    "base", "direct", "direct-bonus", "cold-start", "cold-start-rl", "no-dynamic-sampling", "clip-0.2"
]  # fmt: skip
"""One way to train in the study (`micro.study.ARMS`)."""


class PretrainSettings(Settings):
    """Settings of `foveal micro pretrain`."""

    seed: int = Field(0, ge=0, le=2**32 - 1)
    """Of the scenes, the conversations and the first weights."""
    scenes: int = Field(8000, ge=1)
    """Scenes in the pool."""
    vision_steps: int = Field(1200, ge=0)
    """Steps of stage 1."""
    vision_batch: int = Field(48, ge=1)
    """Scenes in a step of stage 1, and as many crops."""
    language_steps: int = Field(2400, ge=0)
    """Steps of stage 2."""
    language_batch: int = Field(24, ge=1)
    """Conversations in a step of stage 2."""
    vision_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of stage 1; a cosine takes it down to 2 %."""
    language_rate: float = Field(1.5e-3, gt=0)
    """Highest learning rate of stage 2; a cosine takes it down to 2 %."""
    tower_share: float = Field(0.0, ge=0)
    """In stage 2 the vision tower learns at this share of the rate; 0 freezes it."""
    warmup: int = Field(100, ge=1)
    """Steps of each stage in which the rate rises."""
    save_every: int = Field(200, ge=1)
    """Steps between saved states."""
    log_every: int = Field(25, ge=1)
    """Steps between lines of metrics."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: as torch chooses."""


class ColdStartSettings(Settings):
    """Settings of `foveal micro sft`."""

    seed: int = Field(1, ge=0, le=2**32 - 1)
    """Of the questions and the order of training."""
    questions: int = Field(12000, ge=5)
    """Questions about the flags of the training split that the teachers answer; what they got right is learned."""
    worlds: int = Field(80, ge=1)
    """Worlds over which the questions are spread: the real one, and others with invented names and figures."""
    teachers: tuple[Teacher, ...] = Field(("near", "far"), min_length=1)
    """Who answers: each question is dealt to one of them at random."""
    epochs: int = Field(3, ge=1)
    """Passes over the trajectories."""
    batch_size: int = Field(16, ge=1)
    """Trajectories of one step."""
    learning_rate: float = Field(1e-3, gt=0)
    """Highest learning rate of a cosine schedule."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0: as torch chooses."""


class StudySettings(Settings):
    """Settings of `foveal micro study`. The defaults take many hours on two CPU cores."""

    seeds: int = Field(3, ge=1)
    """Runs of every arm: each with a cold start, training questions and held-out questions of its own."""
    arms: tuple[ArmName, ...] = Field(get_args(ArmName), min_length=1)
    """Which are run now; what the others have done in the same folder is told, too."""
    steps: int = Field(40, ge=1)
    """Steps of reinforcement learning, the same in every arm that has it."""
    prompts: int = Field(16, ge=1)
    """Groups of a step."""
    rollouts: int = Field(8, ge=2)
    """Trajectories of a group."""
    updates: int = Field(4, ge=1)
    """Optimizer steps of a step. With one alone the ratio of new to old probability is 1, and no clip takes part."""
    learning_rate: float = Field(1e-4, gt=0)
    """Of reinforcement learning."""
    questions: int = Field(4000, ge=5)
    """Training questions that reinforcement learning draws from; none of them is one of the teacher's."""
    held_out: int = Field(400, ge=5)
    """Questions of the test split that every result is asked."""
    taught: int = Field(12000, ge=5)
    """Questions that the teachers of a cold start answer."""
    worlds: int = Field(80, ge=1)
    """Worlds over which those questions are spread."""
    teachers: tuple[Teacher, ...] = Field(("near", "far"), min_length=1)
    """Of a cold start: each question is dealt to one of them at random."""
    epochs: int = Field(3, ge=1)
    """Of a cold start."""


QUICK_STUDY = StudySettings(
    seeds=1, steps=2, prompts=4, rollouts=4, updates=2, questions=200, held_out=40, taught=300, worlds=4, epochs=1
)
"""Every part of the study within ten minutes, far too small to show anything."""
