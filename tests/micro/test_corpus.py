import os
import random
import re
import subprocess
import sys

from foveal.micro import facts, scenes
from foveal.micro.corpus import Names, conversation, invented
from foveal.micro.pool import Drawn

WORDS = """
import random
from foveal.micro.corpus import Names
rng, names = random.Random(0), Names()
print("\\n".join(names.name(rng) for _ in range(50)))
"""


def test_invented_names_do_not_depend_on_the_process():
    """The order of a set of strings does, and once made two processes train two different tokenizers."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    other = subprocess.run(
        [sys.executable, "-c", WORDS],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    rng, names = random.Random(0), Names()
    assert other.stdout.splitlines() == [names.name(rng) for _ in range(50)]


def test_replies_about_a_scene_are_true(pool: list[Drawn]):
    rng, names = random.Random(0), Names()
    checked = set()
    for _ in range(300):
        talk = conversation(rng, pool, names)
        drawn = None
        for round_ in talk.rounds:
            drawn = round_.scene or drawn
            reply = re.sub("<think>.*</think>\n|</?answer>", "", round_.reply)
            text = str(round_.asked[-1])
            board = next((b for b in (drawn.boards if drawn else ()) if f" {b.colour} board" in text), None)
            checked.add(round_.skill)
            match round_.skill:
                case "where":
                    assert reply == f"{board.x}, {board.y}"
                case "kind":
                    assert reply == ("a flag" if board.flag else "a number")
                case "ball":
                    assert reply == drawn.ball
                case "count":
                    assert reply == str(len(drawn.boards))
                case "list":
                    listed = {f" {b.colour}{b.x},{b.y}" for b in drawn.boards}
                    assert set(reply.split(";")) == listed
    assert checked >= {"where", "kind", "ball", "count", "list", "read"}


def test_tags_are_used_exactly_when_the_question_asks_for_them(pool: list[Drawn]):
    rng, names = random.Random(1), Names()
    for _ in range(200):
        talk = conversation(rng, pool, names)
        asked = str(talk.rounds[0].asked[-1])
        for round_ in talk.rounds:
            assert ("<think>" in round_.reply) == ("<think>" in asked)
            is_code = round_.skill == "code"
            assert ("<code>" in round_.reply) == ("<code>" in asked and is_code)
            assert ("<answer>" in round_.reply) == ("<answer>" in asked and not is_code)
            assert "<tool_call>" not in round_.reply + asked


def test_flags_of_the_test_split_are_never_drawn(pool: list[Drawn]):
    test = {country.code for country in facts.split("test")}
    assert not {board.flag for drawn in pool for board in drawn.boards} & test
    assert {board.colour for drawn in pool for board in drawn.boards} == set(scenes.COLOURS)


def test_invented_worlds_keep_the_flags_and_no_name():
    world, other = invented("a"), invented("b")
    assert invented("a") == world
    real = {name for country in facts.countries() for name in (country.name, country.capital)}
    names = [name for country in world for name in (country.name, country.capital)]
    assert [c.code for c in world] == [c.code for c in facts.countries()]
    assert len(set(names)) == len(names)
    assert not real & set(names)
    assert len({c.name for c in world} & {c.name for c in other}) < len(world) / 2
