"""Foveal commands in a folder, each until it has succeeded once: what recipes/micro/curation.py is made of."""

import fcntl
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from foveal.errors import ConfigError, TrainingError


class Shell:
    """Runs foveal commands in the folder of a seed, each until it has succeeded once. A context.

    Args:
        folder: Of the seed.
        threads: CPU threads of a command.

    Raises:
        ConfigError: Another process is at work in the folder.
    """

    def __init__(self, folder: Path, threads: int):
        self.folder = folder
        self._env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        # Commands inherit it: one that outlives a script that was killed holds the next script back.
        self._lock = (folder / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            what = f"{folder} is in use: by another script, or by a command of one that was killed"
            raise ConfigError(what, "wait for its end, or end it") from None

    def __enter__(self) -> "Shell":
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.close()

    def once(self, name: str, command: str, **flags: Any) -> dict[str, Any]:
        """What a command writes with `--json`, now or when it was run; and `wall_seconds`, of its last session.

        Args:
            name: Of its figures.
            command: Its words behind `foveal`.
            flags: By name, `__` for a dot: `split__most_sft=20` is `--split.most-sft 20`; True for one without a value.

        Raises:
            TrainingError: It failed.
        """
        file = self.folder / "figures" / f"{name}.json"
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            return found
        part, began = file.with_suffix(".part"), time.monotonic()
        self.run(command, json=part.relative_to(self.folder), **flags)
        found = json.loads(part.read_text(encoding="utf-8"))
        found["wall_seconds"] = round(time.monotonic() - began, 1)
        part.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
        part.rename(file)
        return found

    def run(self, command: str, **flags: Any) -> None:
        """Run a command; what it says goes into log.txt.

        Raises:
            TrainingError: It failed.
        """
        words = command.split()
        for flag, value in flags.items():
            words.append("--" + flag.replace("__", ".").replace("_", "-"))
            if value is not True:
                words.append(json.dumps(value) if isinstance(value, tuple) else str(value))
        told = shlex.join(["foveal", *words])
        Console(highlight=False).print(f"{self.folder.name}$ {told}", soft_wrap=True, markup=False)
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"$ {told}\n")
            log.flush()
            done = subprocess.run(
                [sys.executable, "-m", "foveal.cli", *words],
                cwd=self.folder, env=self._env, stdout=log, stderr=subprocess.STDOUT, check=False,
                pass_fds=(self._lock.fileno(),),
            )  # fmt: skip
        if done.returncode:
            raise TrainingError(f"{told} ended with code {done.returncode}", f"read {self.folder / 'log.txt'}")

    def train(self, name: str, command: str, run: str, **flags: Any) -> dict[str, Any]:
        """A training command, begun or gone on with."""
        begun = (self.folder / run / "settings.json").exists()
        return self.once(name, command, run=run, **({"resume": True} if begun else {}), **flags)
