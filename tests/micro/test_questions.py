import collections

from foveal.micro import facts, questions
from foveal.trajectory import ImageStore


def test_families_in_turn_and_the_same_every_time():
    first, second = (list(questions.sample("test", 50, seed=1)) for _ in range(2))
    assert [i.text for i in first] == [i.text for i in second]
    assert [i.gold for i in first] == [i.gold for i in second]
    assert set(collections.Counter(i.family for i in first).values()) == {10}
    assert [i.gold for i in questions.sample("test", 50, seed=2)] != [i.gold for i in first]


def test_gold_follows_from_the_scene():
    for item in questions.sample("train", 200, seed=0):
        numbers = [board.number for board in item.boards]
        match item.kind:
            case "number":
                assert item.gold == str(numbers[0])
            case "sum":
                assert item.gold == str(numbers[0] + numbers[1])
            case "product":
                assert item.gold == str(numbers[0] * numbers[1])
            case "ball":
                assert item.gold == item.scene.ball
            case "count":
                assert item.gold == str(len(item.scene.boards))
            case _:
                assert item.country.code == item.boards[0].flag
                wanted = {"country": item.country.name, "capital": item.country.capital}
                assert item.gold == wanted.get(item.kind, str(item.country.density))
        assert all(board.colour in item.text for board in item.boards)


def test_no_flag_of_the_other_split_is_ever_shown():
    test = {country.code for country in facts.split("test")}
    for split, allowed in (("train", False), ("test", True), ("counterfactual", True)):
        for item in questions.sample(split, 60, seed=0):
            assert all((board.flag in test) == allowed for board in item.scene.boards if board.flag)


def test_counterfactual_answers_are_not_the_true_ones():
    true = {country.name: country for country in facts.countries()}
    asked = [i for i in questions.sample("counterfactual", 100, seed=0) if i.kind in ("capital", "density")]
    assert asked
    for item in asked:
        if item.kind == "capital":
            assert item.gold != true[item.country.name].capital


def test_question_record():
    item = next(iter(questions.sample("test", 1, seed=0)))
    store = ImageStore()
    question = item.question("q", store)
    assert store.get(question.images[0]).size == (448, 448)
    assert (question.family, question.gold, question.meta["kind"]) == (item.family, (item.gold,), item.kind)
