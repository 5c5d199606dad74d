import json
import random
from pathlib import Path
from typing import Any

import pytest

from foveal.micro.questions import FAMILIES
from foveal.micro.study import ARMS, CURVES, TOOLS
from foveal.micro.studypage import claims, missing, pooled, text, write_page


def figures(accuracy: dict[str, float], direct_calls: dict[str, float] | None = None) -> dict[str, Any]:
    """Figures of a study of two seeds with 500 questions, in which an arm is right so often in every family."""
    out: dict[str, Any] = {"arms": list(ARMS), "base_sha256": "abc", "settings.steps": 3}
    out["settings.teachers"] = ["near", "far"]
    for arm, plan in ARMS.items():
        out[f"{arm}.seeds"] = [0, 1]
        for seed in range(2):
            found: dict[str, Any] = {"accuracy": accuracy.get(arm, 0.5), "calls_per_question": 1.5}
            found |= {"code_error_rate": 0.25, "code": f"1.{seed}, commit abc"}
            for family in FAMILIES:
                called = (direct_calls or {}).get(arm, 0.4) if family == "direct" else 0.95
                found |= {f"family.{family}.n": 100, f"family.{family}.accuracy": accuracy.get(arm, 0.5)}
                found |= {f"family.{family}.call_rate": called, **{f"family.{family}.{tool}": 0.5 for tool in TOOLS}}
            found |= {f"sampled.{key}": value for key, value in found.items()}
            if plan.rl is not None:
                found |= {"alarms": {"placeholder_code": 2} if arm == "direct-bonus" else {}, "trajectories": 384}
                found |= {f"curve.{name}": [None, random.Random(seed).random(), 0.5] for name in CURVES}
            out |= {f"{arm}.{seed}.{key}": value for key, value in found.items()}
    return out


def holds(found: dict[str, Any]) -> list[bool]:
    return [claim.holds for claim in claims(found)]


AS_IN_THE_PAPER = {"direct": 0.1, "direct-bonus": 0.1, "cold-start": 0.6, "cold-start-rl": 0.85}


def test_every_claim_can_come_out_either_way():
    good = figures({**AS_IN_THE_PAPER, "no-dynamic-sampling": 0.7, "clip-0.2": 0.7}, {"cold-start-rl": 0.2})
    for seed in range(2):
        good[f"direct.{seed}.alarms"] = {"tool_abandonment": 3}
    assert holds(good) == [True] * 10
    bad = figures(dict.fromkeys(ARMS, 0.6), {"cold-start-rl": 0.5})
    for seed in range(2):
        for family in FAMILIES:
            bad[f"cold-start-rl.{seed}.sampled.family.{family}.call_rate"] = 0.8
    bad["direct-bonus.1.alarms"] = {}
    assert holds(bad) == [False] * 10
    assert "1 of 2 seeds" in [claim.measured for claim in claims(bad)]


def test_eight_points_are_not_enough_if_the_intervals_overlap():
    found = figures({"cold-start": 0.5, "cold-start-rl": 0.59})
    assert holds(found)[0]
    for name in found:
        if name.endswith(".n"):
            found[name] = 5  # 50 questions an arm
    assert not holds(found)[0]


def test_shares_are_pooled_over_seeds_and_families():
    found = figures({"cold-start": 0.5})
    found["cold-start.1.family.search.accuracy"] = 1.0
    assert pooled(found, "cold-start", [0, 1], ("search",)).value == pytest.approx(0.75)
    whole = pooled(found, "cold-start", [0, 1])
    assert (whole.n, whole.value) == (1000, pytest.approx(0.55))


def test_arms_are_compared_over_the_seeds_that_both_have_done():
    found = figures({"cold-start": 0.5, "cold-start-rl": 0.9, "clip-0.2": 0.5})
    found["clip-0.2.seeds"] = [1]
    for family in FAMILIES:
        found[f"cold-start-rl.1.family.{family}.accuracy"] = 0.5
    *_, clip = claims(found)
    assert not clip.holds and clip.measured.count("50.0 %") == 2 and clip.measured.count("n = 500") == 2
    said = text(found, "foveal micro study RUN")
    assert "Seeds so far: base 2," in said and "clip-0.2 1." in said and missing(found) == []
    found["clip-0.2.seeds"] = []
    assert missing(found) == ["clip-0.2"]
    found |= {"clip-0.2.seeds": [2], "base.seeds": [0, 1, 2]}
    assert missing(found) == ["clip-0.2"], "a seed of which other arms have nothing is no whole one"
    assert missing({f"{arm}.seeds": [] for arm in ARMS}) == list(ARMS)


def test_the_page_says_what_was_measured_and_how(tmp_path: Path):
    found = figures(AS_IN_THE_PAPER)
    page = write_page(found, "foveal micro study RUN --seeds 2", tmp_path / "page")
    said = page.read_text(encoding="utf-8")
    assert said == text(found, "foveal micro study RUN --seeds 2")
    assert "foveal micro study RUN --seeds 2" in said and "**85.0 %** | 82.7 - 87.1 % | 85.0, 85.0 |" in said
    assert "| 768 | placeholder_code (2); placeholder_code (2) |" in said
    assert f"| {ARMS['direct'].title} | 768 | none; none |" in said
    assert said.endswith(
        "Made with foveal 1.0, commit abc, 1.1, commit abc; sha256 of the base model's weights: abc.\n"
    )
    data = json.loads((tmp_path / "page" / "cold-start.json").read_text(encoding="utf-8"))
    assert data == {"command": "foveal micro study RUN --seeds 2", **found}
    for name in ("cold-start-curves.svg", "cold-start-tools.svg"):
        assert name in said and (tmp_path / "page" / name).read_text(encoding="utf-8").count("<path") > 20
    before = {file.name: file.read_bytes() for file in page.parent.iterdir()}
    write_page(found, "foveal micro study RUN --seeds 2", tmp_path / "page")
    assert {file.name: file.read_bytes() for file in page.parent.iterdir()} == before, "no dates, no chance"
