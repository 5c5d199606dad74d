import itertools
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foveal.curate.lots import by_lot, lot, parts_of, within_shares
from foveal.curate.questions import QuestionRow, StoredQuestion
from foveal.errors import ConfigError


def test_a_lot_follows_from_seed_purpose_and_name_alone():
    lots = [lot(seed, what, name) for seed in (0, 1) for what in "ab" for name in ("x", "y")]
    assert len(set(lots)) == 8 and all(0 <= one < 1 for one in lots)
    assert lot(0, "a", "x") == lots[0]
    many = [lot(0, "a", str(number)) for number in range(2000)]
    assert abs(sum(many) / 2000 - 0.5) < 0.03


def test_who_is_drawn_keeps_the_order_and_does_not_depend_on_who_else_is_there(curation):
    questions = curation(40).questions()
    drawn = by_lot(questions, 10, 0, "x")
    assert len(drawn) == 10 and drawn == [one for one in questions if one in drawn]
    more = by_lot(questions, 20, 0, "x")
    assert {one.row.id for one in drawn} <= {one.row.id for one in more}
    assert by_lot(questions, None, 0, "x") == by_lot(questions, 40, 0, "x") == questions
    assert by_lot(questions, 10, 1, "x") != drawn


COUNTS = st.dictionaries(st.sampled_from("abcd"), st.integers(0, 300), min_size=1)
SHARES = st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1.0) | st.integers(1, 20).map(lambda n: n / 20))


@given(COUNTS, SHARES)
@example(dict.fromkeys("abc", 300), {"a": 0.334, "b": 0.333, "c": 0.333})
@example({"a": 3, "b": 4, "c": 2}, {"a": 0.35, "b": 0.35, "c": 0.3})
def test_no_value_is_a_row_over_its_share_of_what_is_kept_and_one_row_more_would_not_fit(counts, shares):
    try:
        kept = within_shares(counts, shares)
    except ConfigError:
        assert sum(shares.get(value, 1.0) for value, count in counts.items() if count) < 1
        return
    total = sum(kept.values())
    more = sum(min(count, shares.get(value, 1.0) * (total + 1)) for value, count in counts.items())
    assert more < total + 1, "not even with fractions of rows"
    for value, count in kept.items():
        assert 0 <= count <= counts[value]
        assert count < shares.get(value, 1.0) * total + 1
        if value not in shares:
            assert count == counts[value]


@given(st.lists(st.integers(0, 7), min_size=1, max_size=3), st.lists(st.integers(1, 20), min_size=3, max_size=3))
def test_no_less_is_kept_than_shares_that_are_met_exactly_allow(counts, twentieths):
    """Of all ways to keep some rows of each value, none that meets every share keeps more."""
    named = dict(zip("abc", counts, strict=False))
    shares = {value: number / 20 for value, number in zip(named, twentieths, strict=False)}
    ways = itertools.product(*(range(count + 1) for count in counts))
    exact = [
        sum(way) for way in ways if all(20 * n <= part * sum(way) for n, part in zip(way, twentieths, strict=False))
    ]
    if sum(share for value, share in shares.items() if named[value]) > 0.999:
        assert sum(within_shares(named, shares).values()) >= max(exact)


def test_shares_worked_by_hand():
    assert within_shares({"a": 90, "b": 10}, {"a": 0.5}) == {"a": 10, "b": 10}
    assert within_shares({"a": 90, "b": 10}, {"a": 0.95}) == {"a": 90, "b": 10}
    assert within_shares({"a": 60, "b": 60, "c": 30}, {"a": 0.25, "b": 0.25}) == {"a": 15, "b": 15, "c": 30}
    assert within_shares({"a": 10, "b": 10}, {"a": 0.0}) == {"a": 0, "b": 10}
    assert within_shares({"a": 0}, {"a": 0.5}) == {"a": 0}
    with pytest.raises(ConfigError, match=r"come to 0\.5"):
        within_shares({"a": 90}, {"a": 0.5})


def test_shares_that_whole_rows_cannot_meet_lose_a_fraction_of_a_row_and_no_more():
    thirds = {"a": 0.334, "b": 0.333, "c": 0.333}
    assert within_shares(dict.fromkeys("abc", 300), thirds) == {"a": 300, "b": 299, "c": 299}
    assert within_shares({"a": 3, "b": 4, "c": 2}, {"a": 0.35, "b": 0.35, "c": 0.3}) == {"a": 2, "b": 2, "c": 2}
    assert within_shares(dict.fromkeys("abc", 100), {"a": 0.34, "b": 0.33, "c": 0.33}) == {"a": 100, "b": 97, "c": 97}


def test_shares_that_come_to_everything_are_not_refused_for_how_they_are_added_up():
    assert 0.7 + 0.2 + 0.1 < 1
    assert within_shares(dict.fromkeys("abc", 100), {"a": 0.7, "b": 0.2, "c": 0.1}) == {"a": 100, "b": 28, "c": 14}
    assert sum(within_shares(dict.fromkeys("abc", 10**6), dict.fromkeys("abc", 1 / 3)).values()) == 3 * 10**6
    with pytest.raises(ConfigError, match=r"come to 0\.9999999 of 1"):
        within_shares(dict.fromkeys("ab", 10), {"a": 0.5, "b": 0.4999999})


def test_questions_that_share_a_picture_over_others_are_in_the_same_part(curation):
    folder = curation(60)
    file = folder.path / "questions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["images"] = ["pictures/0.png", "pictures/9.png"]
    rows[18]["images"] = ["pictures/9.png", "pictures/20.png"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for seed in range(12):
        parts = parts_of(folder.questions(), 0.3, seed)
        assert len({parts[f"q{number}"] for number in (0, 1, 18, 19, 40, 41)}) == 1
        assert all(parts[f"q{2 * number}"] == parts[f"q{2 * number + 1}"] for number in range(30))
    counts = [list(parts_of(folder.questions(), 0.3, seed).values()).count("held_out") for seed in range(30)]
    assert 12 < sum(counts) / 30 < 24
    assert set(parts_of(folder.questions(), 0.0, 0).values()) == {"train"}


def test_a_long_chain_of_questions_does_not_cost_its_length_a_step(tmp_path, steps):
    chain = [
        StoredQuestion(QuestionRow(id=f"{n}", text="?", images=(f"{n:06}", f"{n + 1:06}")), tmp_path / "q.jsonl", n)
        for n in reversed(range(1500))
    ]
    assert len(set(parts_of(chain, 0.5, 0).values())) == 1
    assert steps(lambda: parts_of(chain, 0.5, 0)) < 150 * len(chain)
