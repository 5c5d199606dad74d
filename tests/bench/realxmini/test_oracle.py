"""The proof: which steps a question needs, shown by an oracle whose steps can be switched off."""

from pathlib import Path

import pytest

from foveal.bench.realxmini import oracle
from foveal.bench.realxmini.build import build
from foveal.bench.realxmini.kinds import HOPS, Hop

CHANCE = 0.08
"""One mark of twelve, if only the mark is needed; next to nothing, if words are read or two marks are meant."""


def test_the_oracle_answers_through_the_real_tools(folder: Path, ask):
    verdicts = ask(folder)
    assert len(verdicts) == 14 and oracle.accuracy(verdicts) == 1
    for verdict in verdicts:
        used = {turn.call.tool for turn in verdict.trajectory.turns if turn.call}
        assert "code" in used and used - {"code"} == set(verdict.hops) & {"search", "image_search"}


def test_without_a_step_a_question_that_needs_it_is_lost_and_no_other(folder: Path, ask):
    """One step a question: what it needs in turn, and one that it does not need."""
    tried = set()
    for number, hop in enumerate(HOPS):
        verdicts = ask(folder, hop, lambda question, number=number: int(question.row.id[-2:]) % 4 == number)
        for verdict in verdicts:
            assert verdict.right == (hop not in verdict.hops), (verdict.id, hop, verdict.trajectory.answer)
            tried.add((hop, verdict.right))
    assert len(tried) >= 5


def test_what_a_switched_off_search_could_have_said_is_not_said(folder: Path, ask):
    verdicts = ask(folder, "search", lambda question: "search" in question.row.meta["hops"])[:3]
    for verdict in verdicts:
        assert all(turn.call is None or turn.call.tool != "search" for turn in verdict.trajectory.turns)


def test_a_blind_guesser_knows_nothing(folder: Path):
    right = oracle.blind(folder)
    assert len(right) == 14 and sum(right.values()) <= 2


@pytest.fixture(scope="module", params=["real", "counterfactual"])
def whole(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    built = build(out, request.param)
    assert built.documents > 100_000
    return out


@pytest.mark.slow
def test_the_whole_is_answered(whole: Path, ask):
    verdicts = ask(whole)
    assert len(verdicts) == 300 and oracle.accuracy(verdicts) >= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("hop", HOPS)
def test_the_whole_needs_its_steps_and_no_others(whole: Path, ask, hop: Hop):
    verdicts = ask(whole, hop)
    needing = [verdict for verdict in verdicts if hop in verdict.hops]
    other = [verdict for verdict in verdicts if hop not in verdict.hops]
    assert oracle.accuracy(other) >= 0.98
    assert oracle.accuracy(needing) <= CHANCE


@pytest.mark.slow
def test_blind_guesses_are_rarely_right(whole: Path):
    right = oracle.blind(whole)
    assert len(right) == 300 and sum(right.values()) / len(right) <= 0.05
