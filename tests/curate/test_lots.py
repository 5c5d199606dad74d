import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.curate.lots import by_lot, lot, parts_of, within_shares
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


@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(0, 300), min_size=1),
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 1.0)),
)
def test_no_value_is_more_than_its_share_of_what_is_kept(counts, shares):
    try:
        kept = within_shares(counts, shares)
    except ConfigError:
        assert sum(shares.get(value, 1.0) for value, count in counts.items() if count) < 1
        return
    total = sum(kept.values())
    for value, count in kept.items():
        assert 0 <= count <= counts[value]
        assert count <= shares.get(value, 1.0) * total + 1e-6
        if value not in shares:
            assert count == counts[value]


def test_shares_worked_by_hand():
    assert within_shares({"a": 90, "b": 10}, {"a": 0.5}) == {"a": 10, "b": 10}
    assert within_shares({"a": 90, "b": 10}, {"a": 0.95}) == {"a": 90, "b": 10}
    assert within_shares({"a": 60, "b": 60, "c": 30}, {"a": 0.25, "b": 0.25}) == {"a": 15, "b": 15, "c": 30}
    with pytest.raises(ConfigError, match=r"come to 0\.5"):
        within_shares({"a": 90}, {"a": 0.5})


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
