"""Curation in the micro world, from raw questions to trained models, and what each of its filters is worth.

    python recipes/micro/curation.py RUN --quick           # every part in minutes, far too small to show anything
    python recipes/micro/curation.py RUN --jobs 2          # hours; the same command goes on where it was
    python recipes/micro/curation.py RUN --page docs/studies

The student is the base model; of two teachers, the shipped checkpoints `sft` and `rl`, one is wrong about every third
question and one about every sixth. Student and teachers are asked every question once; which rows an arm of `ARMS`
learns follows from their verdicts, and every arm learns equally many. All of it is done by public commands, in the
folder of a seed:

    world/             raw questions, index and prompts       foveal micro world
    base, sft, rl      the shipped checkpoints
    curation/          what all models were asked             foveal curate add, check, difficulty, benefit, synthesize
    arms/<arm>/        a curation of the same answers         foveal curate split, window, card
    cold-start/<arm>/  the base model after these rows        foveal sft
    reinforced/<arm>/  ... and after reinforcement learning   foveal rl
    held-out/<model>/  answers to questions of the test       foveal micro bench
    figures/<step>.json, log.txt                              what each command wrote and said

A command that has written its figures is not run again, and one that was killed goes on where it was.
"""

import json
import os
import shlex
import shutil
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import curation_page
from cyclopts import App, Parameter
from cyclopts.validators import Number
from pydantic import Field
from rich.console import Console
from shell import Shell

from foveal.cli.common import explain
from foveal.config import Settings
from foveal.errors import ConfigError, FovealError
from foveal.micro import CHECKPOINTS, checkpoint_folder
from foveal.records import scan_run

RECIPES = Path(__file__).parent
CURATION, COLD_START, RL = (RECIPES / name for name in ("curation.toml", "curated_sft.toml", "rl.toml"))
EVERYTHING = ("check", "difficulty", "benefit")
"""Skipped while models are asked, or they would not be asked what an arm needs that leaves one of these out."""
FIRST_SEED = 100
"""Of the questions; nobody was trained on those of this seed and the next ones."""


class Arm(NamedTuple):
    """One way to choose the rows of the cold start."""

    title: str
    skip: tuple[str, ...]
    """Steps of curation that let everything pass."""


FULL, UNFILTERED = "full", "unfiltered"
ARMS = {
    FULL: Arm("all filters", ()),
    "no-difficulty": Arm("without the difficulty filter", ("difficulty",)),
    "no-benefit": Arm("without the benefit filter", ("benefit",)),
    "no-selection": Arm("without both: verified rows of any question", ("difficulty", "benefit")),
    "no-verify": Arm("without verification: any trajectory", ("verify",)),
    UNFILTERED: Arm("random rows, any trajectory", (*EVERYTHING, "verify")),
}
BASE = "base"
TITLES = {
    BASE: "the base model as it is",
    **{name: arm.title for name, arm in ARMS.items()},
    **{f"{name}-rl": f"{ARMS[name].title}, then RL" for name in (FULL, UNFILTERED)},
}


class Sizes(Settings):
    """How large it is. The defaults take hours on two CPU cores."""

    seeds: int = Field(3, ge=1)
    """Each has raw questions, lots, orders of training and held-out questions of its own."""
    questions: int = Field(900, ge=5)
    """Raw questions of a seed."""
    samples: int = Field(8, ge=1)
    """Answers of the student to each, without tools and with them; and of the cold start for the window."""
    rows: int = Field(400, ge=1)
    """Trajectories of a cold start, or what the smallest arm has; other questions are for reinforcement learning."""
    epochs: int = Field(10, ge=1)
    """Of every cold start."""
    steps: int = Field(10, ge=1)
    """Of reinforcement learning."""
    prompts: int = Field(16, ge=4)
    """Groups of a step."""
    rollouts: int = Field(8, ge=2)
    """Trajectories of a group."""
    lowest: float = Field(1 / 8, ge=0, le=1)
    """A question goes to reinforcement learning if the cold start answers at least this share of samples right."""
    held_out: int = Field(400, ge=5)
    """Questions of the test split that every model is asked."""


QUICK = Sizes(
    seeds=1, questions=60, samples=2, rows=24, epochs=6, steps=2, prompts=4, rollouts=4, lowest=0, held_out=40
)
"""Every part within ten minutes on two idle cores. `lowest` is 0, or no question would be left for the last part."""


class Seed:
    """The whole pipeline with one seed.

    Args:
        sizes: How large it is.
        seed: Which.
        shell: Runs the commands.
    """

    def __init__(self, sizes: Sizes, seed: int, shell: Shell):
        self.sizes, self.seed, self.shell, self.folder = sizes, seed, shell, shell.folder
        self.figures: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Do what is not done yet.

        Returns:
            `<model>.<seed>.<figure>` of every model of `TITLES`, as `foveal micro bench` tells them; of the arms also
            `rows`, `rows.available`, `rows.shared` (with all filters), `rows.right` (share), `rows.family.<name>` and,
            where the rows are those of an earlier arm, `same_as`; and `funnel.<seed>.<figure>` and
            `seconds.<seed>.<step>`.
        """
        self.ask()
        models = self.cold_starts()
        self.bench(BASE, "base-tools")
        for arm, same in models.items():
            self.bench(arm, f"cold-start/{same}/model", same)
        for arm, questions in self.questions_of_rl().items():
            self.reinforce(arm, f"cold-start/{models[arm]}/model", questions)
        for file in sorted((self.folder / "figures").glob("*.json")):
            seconds = json.loads(file.read_text(encoding="utf-8"))["wall_seconds"]
            self.figures[f"seconds.{self.seed}.{file.stem}"] = seconds
        return self.figures

    def curate(self, name: str, step: str, folder: str = "curation", **flags: Any) -> dict[str, Any]:
        """A step of curation."""
        k = self.sizes.samples
        samples = {f"{one}__samples": k for one in ("difficulty", "benefit", "window")}
        samples["difficulty__most_right"] = k // 4  # the paper's 2 of 8
        flags = {"config": CURATION, "folder": folder, "seed": self.seed, **samples, **flags}
        return self.shell.once(name, f"curate {step}", **flags)

    def ask(self) -> None:
        """Make the raw questions, and ask student and teachers all of them: this is what takes long, and is shared."""
        for name in CHECKPOINTS:  # so that records name them alike wherever foveal is installed
            if not (link := self.folder / name).is_symlink():
                link.symlink_to(checkpoint_folder(name).resolve())
        if not (self.folder / "world" / "questions.jsonl").exists():
            shutil.rmtree(self.folder / "world", ignore_errors=True)  # a part of one from an interrupted session
            self.shell.run("micro world world", split="train", n=self.sizes.questions, seed=FIRST_SEED + self.seed)
        self.curate("add", "add")
        self.curate("check", "check")
        for step in ("difficulty", "benefit", "synthesize"):
            self.curate(step, step, skip=EVERYTHING)

    def arm(self, name: str) -> str:
        """The folder of an arm: verdicts of its own, links to everything that all have in common."""
        folder, common = self.folder / "arms" / name, self.folder / "curation"
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for path in common.iterdir():
                if path.name == "verdicts":
                    shutil.copytree(path, part / path.name)
                else:
                    (part / path.name).symlink_to(Path("../..") / common.name / path.name)
            part.rename(folder)
        return str(folder.relative_to(self.folder))

    def cold_starts(self) -> dict[str, str]:
        """Cut the rows of every arm, at most as many as the smallest has, and learn them.

        Returns:
            For every arm the one whose cold start is its own: itself, or an earlier arm that has the same rows.

        Raises:
            ConfigError: An arm has no rows.
        """
        available = {}
        for name, arm in ARMS.items():
            available[name] = self.curate(f"{name}.rows", "split", self.arm(name), skip=arm.skip)["sft.train"]
        if not (rows := min(self.sizes.rows, *available.values())):
            raise ConfigError(f"no trajectory of the teachers passed in {self.folder}", "ask more questions")
        same: dict[str, str] = {}
        learned: dict[bytes, str] = {}
        for name, arm in ARMS.items():
            self.curate(f"{name}.split", "split", self.arm(name), skip=arm.skip, split__most_sft=rows)
            data = self.folder / "arms" / name / "sft" / "train"
            same[name] = learned.setdefault((data / "trajectories.jsonl").read_bytes(), name)
            self.figures |= self.described(name, data) | {f"{name}.{self.seed}.rows.available": available[name]}
            if same[name] == name:
                flags = {"model": "base", "data": data.relative_to(self.folder), "epochs": self.sizes.epochs}
                run = f"cold-start/{name}"
                self.shell.train(f"{name}.sft", "sft", run, config=COLD_START, seed=self.seed, **flags)
        return same

    def described(self, arm: str, data: Path) -> dict[str, Any]:
        """What the rows of an arm are: how many, by family, how many of them are right, and how many the whole has."""
        trajectories = list(scan_run(data))
        whole = {one.id for one in scan_run(self.folder / "arms" / FULL / "sft" / "train")}
        families = Counter(one.question.family for one in trajectories)
        right = sum(one.reward["accuracy"] >= 1 for one in trajectories)
        found = {"rows": len(trajectories), "rows.right": right / len(trajectories)}
        found["rows.shared"] = sum(one.id in whole for one in trajectories)
        found |= {f"rows.family.{family}": count for family, count in families.items()}
        return {f"{arm}.{self.seed}.{key}": value for key, value in found.items()}

    def questions_of_rl(self) -> dict[str, str]:
        """The question sets of reinforcement learning: those in the window, and as many random ones; none if none is.

        Returns:
            The files, by arm.
        """
        full, unfiltered, rows = self.arm(FULL), self.arm(UNFILTERED), self.figures[f"{FULL}.{self.seed}.rows"]
        flags = {"split__most_sft": rows, "window__lowest": self.sizes.lowest}
        self.curate("window", "window", full, **flags)
        sets = self.curate("full.split-rl", "split", full, **flags)
        card = self.curate("card", "card", full, **flags)
        self.figures |= {f"funnel.{self.seed}.{key}": value for key, value in card.items() if key != "wall_seconds"}
        if not sets["rl.train"]:
            return {}
        skip = (*ARMS[UNFILTERED].skip, "window")
        self.curate("unfiltered.split-rl", "split", unfiltered, skip=skip, split__most_rl=sets["rl.train"], **flags)
        return {FULL: f"{full}/rl/train.jsonl", UNFILTERED: f"{unfiltered}/rl/train.jsonl"}

    def reinforce(self, arm: str, model: str, questions: str) -> None:
        """A short reinforcement learning behind a cold start, and its figures."""
        world = {"system_prompt": "world/system.txt", "user_suffix": "world/suffix.txt", "tools__search": "world/index"}
        size = {name: getattr(self.sizes, name) for name in ("steps", "prompts", "rollouts")}
        flags = {"config": RL, "model": model, "questions": questions, "seed": self.seed, **world, **size}
        self.shell.train(f"{arm}-rl.rl", "rl", f"reinforced/{arm}", **flags)
        self.bench(f"{arm}-rl", f"reinforced/{arm}/model")

    def bench(self, name: str, policy: str, same: str | None = None) -> None:
        """Ask a model the held-out questions of the seed, or take over the answers of the same model.

        Args:
            name: Of the model.
            policy: Where it is.
            same: Name of a model that is the same one.
        """
        run, same = f"held-out/{same or name}", same or name
        if not (self.folder / "figures" / f"{same}.bench.json").exists():
            shutil.rmtree(self.folder / run, ignore_errors=True)
        asked = {"split": "test", "n": self.sizes.held_out, "seed": self.seed}
        found = self.shell.once(f"{same}.bench", "micro bench", policy=policy, **asked, run=run)
        self.figures |= {f"{name}.{self.seed}.{key}": value for key, value in found.items() if key != "wall_seconds"}
        if same != name:
            self.figures[f"{name}.{self.seed}.same_as"] = same


def run_all(sizes: Sizes, run: Path, jobs: int) -> dict[str, Any]:
    """Every seed, so many at a time, and what they come to.

    Returns:
        `titles` of the models that every seed has (no reinforcement learning if a window was empty), `arms`, `seeds`,
        `settings.<name>`, what `Seed.run` returns, and `against.<second>.<first>.<asked>.<figure>`: the comparisons of
        `curation_page.compared`, on the questions of `curation_page.ASKED`; and what `curation_page.judged` makes of
        them.

    Raises:
        ConfigError: The folder holds a run of other sizes.
    """
    saved, now = run / "settings.json", sizes.model_dump(mode="json")
    if saved.exists():
        before = json.loads(saved.read_text(encoding="utf-8"))
        # More seeds are more of the same.
        if changed := [key for key in now if key != "seeds" and now[key] != before.get(key)]:
            was = ", ".join(f"{key} was {before.get(key)}" for key in changed)
            raise ConfigError(f"{run} was begun with other settings: {was}", "name another folder")
    run.mkdir(parents=True, exist_ok=True)
    saved.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
    threads = max(1, (os.cpu_count() or 1) // jobs)

    def one(seed: int) -> dict[str, Any]:
        with Shell(run.resolve() / f"seed-{seed}", threads) as shell:
            return Seed(sizes, seed, shell).run()

    figures: dict[str, Any] = {"arms": list(ARMS), "seeds": sizes.seeds}
    figures |= {f"settings.{key}": value for key, value in now.items()}
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(one, range(sizes.seeds)):
            figures |= found
    whole = {name: all(f"{name}.{seed}.accuracy" in figures for seed in range(sizes.seeds)) for name in TITLES}
    figures["titles"] = {name: title for name, title in TITLES.items() if whole[name]}
    pairs = [(arm, FULL) for arm in ARMS if arm != FULL] + [(f"{UNFILTERED}-rl", f"{FULL}-rl")]
    for first, second in [*pairs, (FULL, f"{FULL}-rl"), (UNFILTERED, f"{UNFILTERED}-rl")]:
        if whole[first] and whole[second]:
            for asked, families in curation_page.ASKED.items():
                found = curation_page.compared(figures, run, first, second, families)
                figures |= {f"against.{second}.{first}.{asked}.{key}": value for key, value in found.items()}
    return figures | curation_page.judged(figures)


app = App(name="curation.py", help_format="markdown")


@app.default
def main(
    run: Path,
    *,
    quick: bool = False,
    jobs: Annotated[int, Parameter(validator=Number(gte=1))] = 1,
    page: Path | None = None,
    sizes: Annotated[Sizes | None, Parameter(name="*")] = None,
) -> int:
    """Curate with all filters and without each, train on the same number of rows, and tell whether it matters.

    Args:
        run: Folder of the results; the same command goes on with it.
        quick: Every part in minutes, far too small to show anything; no other sizes go with it.
        jobs: Seeds under way at once, each with its share of the cores.
        page: Folder for curation.md, its plot and its data; by default RUN/page.
        sizes: How large it is.
    """
    console = Console(highlight=False)
    try:
        if quick and sizes is not None:
            raise ConfigError("--quick has sizes of its own", "leave it out, or the others")
        figures = run_all(QUICK if quick else sizes or Sizes(), run, jobs)
    except FovealError as error:
        return explain(error, console)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on", style="yellow")
        return 130
    command = shlex.join(["python", "recipes/micro/curation.py", *sys.argv[1:]])
    console.print(f"page: {curation_page.write_page(figures, command, page or run / 'page')}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
