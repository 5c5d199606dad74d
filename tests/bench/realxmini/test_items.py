from collections import Counter
from random import Random

import pytest

from foveal.bench.realxmini import facts, items, kinds
from foveal.bench.realxmini.kinds import DOMAINS, KINDS, Kind


@pytest.fixture(scope="module")
def plans() -> list[items.Plan]:
    return list(items.plans(0))


def test_there_are_as_many_questions_on_each_axis_as_in_the_paper(plans):
    assert len(plans) == items.COUNT == 300
    axes = [(plan.slot.near, plan.slot.kind.search, plan.slot.kind.reason) for plan in plans]
    assert [sum(axis[i] for axis in axes) for i in range(3)] == [164, 211, 178]
    assert Counter(axes)[True, True, True] == 72 and len(Counter(axes)) == 8
    assert set(Counter(plan.slot.kind.domain for plan in plans).values()) == {75}
    assert {plan.slot.kind for plan in plans} == set(KINDS)


def test_a_seed_gives_the_same_questions_and_another_one_others():
    first, again, other = (list(items.plans(seed, 12)) for seed in (0, 0, 1))
    assert first == again
    assert [plan.text for plan in first] != [plan.text for plan in other]


def test_answers_are_short_unique_and_none_of_their_own_values(plans):
    for plan in plans:
        assert all(0 < len(gold) <= 40 for gold in plan.gold["real"])
    for kind in KINDS:
        answers = [plan.gold["real"][0] for plan in plans if plan.slot.kind == kind]
        if kind.seen not in ("count", "gap"):
            assert len(set(answers)) == len(answers)


def test_memory_of_the_real_world_is_wrong_in_the_edited_one(plans):
    searched = [plan for plan in plans if plan.slot.kind.search]
    assert len(searched) == 211
    assert not any(set(plan.gold["real"]) & set(plan.gold["counterfactual"]) for plan in searched)
    seen = [plan for plan in plans if not plan.slot.kind.search]
    assert all(plan.gold["real"] == plan.gold["counterfactual"] for plan in seen)


def test_what_the_other_cards_say_is_never_the_answer(plans):
    """Or a card picked at random would sometimes do."""
    for plan in plans:
        words = [words for mark, _, words in plan.cards if mark not in plan.marks]
        assert not set(plan.gold["real"]) & set(words)
        assert len({mark for mark, _, _ in plan.cards}) == len(plan.cards)


def test_every_flag_combination_has_kinds_in_every_domain():
    for domain in DOMAINS:
        for search in (False, True):
            for reason in (False, True):
                assert kinds.fitting(domain, search, reason)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.domain}-{kind.name}")
def test_hops_are_what_the_flags_say(kind: Kind):
    for near in (False, True):
        hops = kind.hops(near)
        assert ("perception" in hops) == near
        assert ("reason" in hops) == kind.reason
        assert bool({"search", "image_search"} & set(hops)) == kind.search


def test_the_edited_world_keeps_no_name_capital_or_figure():
    true, edited = facts.real(), facts.counterfactual()
    for code, country in true.countries.items():
        other = edited.countries[code]
        assert country.name != other.name and country.capital != other.capital
        assert country.population != other.population and country.area != other.area
    assert all(true.brands[key].name != one.name for key, one in edited.brands.items())
    assert all(true.cities[key].country != one.country for key, one in edited.cities.items())
    assert {one.name for one in true.countries.values()} == {one.name for one in edited.countries.values()}


def test_gold_by_hand():
    kind = kinds.find("countries", "density")
    assert items._gold(kind, [2000, 500]) == ("4000",)
    assert items._gold(kinds.find("countries", "areas"), [10, 35]) == ("25",)
    assert items._gold(kinds.find("countries", "sum"), [12, 30]) == ("42",)
    assert items._gold(kinds.find("brands", "product"), [12, 30]) == ("360",)
    assert items._gold(kinds.find("countries", "capital"), ["Asunción"]) == ("Asunción", "Asuncion")
    assert "USA" in items._gold(kinds.find("countries", "name"), ["United States"])


def test_disputed_capitals_are_not_asked_for():
    kind = kinds.find("charts", "capital")
    asked = {
        gold
        for seed in range(40)
        if (made := items.plan(Random(seed), items.Slot(kind, True)))
        for gold in made.gold["real"]
    }
    assert len(asked) > 10 and not asked & items.DISPUTED
    assert not items._fair(kind, {"real": ("Jerusalem",), "counterfactual": ("Lima",)})


def test_the_prior_is_an_answer_of_the_kind():
    assert items.prior(kinds.find("charts", "gap"), True).isdigit()
    assert items.prior(kinds.find("street", "country"), False) in {one.country for one in facts.real().cities.values()}
