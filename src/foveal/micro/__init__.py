"""The micro world: the whole pipeline at a scale that a laptop trains.

Scenes with real flags, real country facts as documents, questions with exact gold, a teacher, and a model of a few
million parameters that learns to answer them. Nothing below imports this package.
"""

from pathlib import Path

from foveal.errors import ConfigError

CHECKPOINTS = ("base", "sft")
"""The shipped checkpoints, in the order in which they are made."""


def checkpoint_folder(name: str) -> Path:
    """The folder of a shipped checkpoint.

    Raises:
        ConfigError: There is no checkpoint of that name in this installation.
    """
    folder = Path(__file__).parent / "checkpoints" / name
    if not (folder / "model.safetensors").is_file():
        raise ConfigError(
            f"there is no micro checkpoint '{name}' in this installation",
            "train it: foveal micro pretrain RUN, then foveal micro sft RUN2 --base RUN/base",
        )
    return folder
