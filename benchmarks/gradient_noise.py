"""Measures how much of a policy gradient is signal: do two halves of the same questions ask for the same change?

    python benchmarks/gradient_noise.py [--model DIR] [--questions N] [--temperature T] [--seed SEED] [--json FILE]

Samples groups of 8 as `recipes/micro/rl.toml` does, but for the temperature, with the weights as they are. Every
informative group gives a gradient; the groups are split in halves at random, 100 times, and each time the cosine
between the sums of both halves is taken. Near 0, a step follows noise; the share of signal grows with the number
of groups. Each trajectory's gradient is kept too, for what a few of them weigh.

Keys of the JSON file: `accuracy` of all trajectories; `groups` drawn, `informative`; `cosine.all` (every trajectory of
the informative groups), `cosine.mask_cut` (without those that a limit ended), `cosine.mask_malformed` (nor those that
broke the format); `energy.top_5_percent`, `energy.malformed`: share of the sum of squared gradient norms of
trajectories; `malformed`: share of the trajectories of informative groups that broke the format.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

import numpy as np
import torch

from foveal.config import read_settings
from foveal.micro import checkpoint_folder
from foveal.micro.questionset import write_world
from foveal.policy.encoding import ChatEncoder
from foveal.policy.transformers import TransformersPolicy, load_model
from foveal.reward.format import well_formed
from foveal.train.advantage import GroupKind, has_loss
from foveal.train.batch import Planned, Sample, load
from foveal.train.environment import open_environment
from foveal.train.logprobs import Scorer
from foveal.train.pictures import encode, with_features
from foveal.train.rl_settings import RlSettings
from foveal.train.rollouts import Group, Rollouts
from foveal.train.tokens import IGNORE, collate, plan
from foveal.trajectory import ImageStore

RECIPE = Path(__file__).parents[1] / "recipes/micro/rl.toml"
SPLITS = 100
MASKS = {
    "all": {"mask_cut": False, "mask_malformed": False},
    "mask_cut": {"mask_cut": True, "mask_malformed": False},
    "mask_malformed": {"mask_cut": True, "mask_malformed": True},
}
"""Which trajectories have no loss."""


async def sample(settings: RlSettings, model: torch.nn.Module, encoder: ChatEncoder, images: ImageStore) -> list[Group]:
    """The groups of one step."""
    environment = open_environment(settings)
    try:
        policy = TransformersPolicy.from_model(model, encoder, "policy", settings.max_batch)
        return await Rollouts(settings, environment, policy, None).sample(1, 0, images)
    finally:
        if environment.sandbox is not None:
            await environment.sandbox.aclose()


class Gradients:
    """Gradients of the log-probs of single trajectories, as flat vectors."""

    def __init__(self, settings: RlSettings, model: torch.nn.Module, encoder: ChatEncoder):
        model.model.visual.requires_grad_(False)
        self.model, self.encoder = model, encoder
        self.scorer = Scorer(model, encoder, settings.temperature)
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]

    def of(self, sample: Sample) -> torch.Tensor:
        """(weights,)."""
        batch = with_features(collate([sample.sequence], self.encoder.padding))
        self.model.zero_grad()
        scores = self.scorer(batch)
        torch.where(batch["labels"] != IGNORE, scores.logprobs, 0.0).sum().backward()
        return torch.cat([weight.grad.flatten() for weight in self.weights if weight.grad is not None])


def cosine(sums: torch.Tensor, rng: np.random.Generator) -> float:
    """Mean cosine of the sums of two random halves of `sums` (groups, weights)."""
    products, found = (sums @ sums.T).double().numpy(), []
    for _ in range(SPLITS):
        first, second = np.array_split(rng.permutation(len(sums)), 2)
        norms = products[np.ix_(first, first)].sum() * products[np.ix_(second, second)].sum()
        found.append(products[np.ix_(first, second)].sum() / np.sqrt(norms))
    return float(np.mean(found))


def measure(settings: RlSettings) -> dict[str, float]:
    """The figures of the JSON file."""
    encoder, model, images = ChatEncoder.load(settings.model), load_model(settings.model, "cpu"), ImageStore()
    groups = asyncio.run(sample(settings, model, encoder, images))
    informative = [group for group in groups if group.kind is GroupKind.INFORMATIVE]
    gradients, sums, energies, broken = Gradients(settings, model, encoder), {name: [] for name in MASKS}, [], []
    for group in informative:
        of_group = {name: torch.zeros(sum(weight.numel() for weight in gradients.weights)) for name in MASKS}
        for trajectory, advantage in zip(group.trajectories, group.advantages, strict=True):
            planned, _ = plan(trajectory, encoder, settings.limits.max_context)
            if planned is None:  # the model said nothing
                continue
            features = encode(model, encoder, ((ref, images) for ref in planned.refs))
            gradient = gradients.of(load(Planned(planned, advantage), encoder, features))
            energies.append(float(gradient.square().sum()))
            broken.append(not well_formed(trajectory))
            for name, masks in MASKS.items():
                if has_loss(trajectory, **masks):
                    of_group[name] += advantage * gradient
        for name, gradient in of_group.items():
            sums[name].append(gradient)
    energy, rng = np.array(energies), np.random.default_rng(settings.seed)
    accuracies = [trajectory.reward["accuracy"] for group in groups for trajectory in group.trajectories]
    return {
        "accuracy": float(np.mean(accuracies)),
        "groups": len(groups),
        "informative": len(informative),
        **{f"cosine.{name}": cosine(torch.stack(found), rng) for name, found in sums.items()},
        "energy.top_5_percent": float(np.sort(energy)[::-1][: len(energy) // 20].sum() / energy.sum()),
        "energy.malformed": float(energy[broken].sum() / energy.sum()),
        "malformed": float(np.mean(broken)),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=checkpoint_folder("sft"))
    parser.add_argument("--questions", type=int, default=128)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        changed = {
            "model": args.model,
            "questions": write_world(here, "train", args.questions, seed=2),
            "system-prompt": here / "system.txt",
            "user-suffix": here / "suffix.txt",
            "tools.search": here / "index",
            "prompts": args.questions,
            "dynamic-sampling": "false",
            "temperature": args.temperature,
            "seed": args.seed,
        }
        settings = read_settings(RlSettings, RECIPE, {name: str(value) for name, value in changed.items()})
        figures = measure(settings)
    for name, value in figures.items():
        print(f"{name:28} {value:10.3f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
