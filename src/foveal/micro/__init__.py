"""The micro world: the whole pipeline at a scale that a laptop trains.

Scenes with real flags, real country facts as documents, questions with exact gold, a teacher, and a model of a few
million parameters that learns to answer them. Nothing below imports this package.
"""

from pathlib import Path

from foveal.errors import ConfigError

CHECKPOINTS = ("base", "sft", "rl")
"""The shipped checkpoints: pre-trained, after a cold start, after a cold start and reinforcement learning."""
BEST = "rl"
"""The one that answers where no other is named."""


def checkpoint_folder(name: str) -> Path:
    """The folder of a shipped checkpoint.

    Raises:
        ConfigError: There is no checkpoint of that name in this installation.
    """
    folder = Path(__file__).parent / "checkpoints" / name
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"there is no micro checkpoint '{name}' in this installation",
            "name one of " + ", ".join(CHECKPOINTS) + ", or train it: docs/micro.md",
        )
    return folder
