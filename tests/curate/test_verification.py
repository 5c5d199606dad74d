import asyncio

import pytest
from PIL import Image

from foveal.agent import Agent
from foveal.config import Limits
from foveal.curate.settings import VerifySettings
from foveal.curate.verification import failures, length
from foveal.policy.scripted import ScriptedPolicy
from foveal.tools.session import Tools
from foveal.trajectory import ImageStore, Question, SearchHit


class Pages:
    name = "pages"

    async def search(self, query, k):
        return (
            []
            if query == "nothing"
            else [SearchHit(title="Paris", snippet="The capital of France has 2145906 people.")]
        )


def code(text):
    return f"<think>I look.</think>\n<code>\n```python\n{text}\n```\n</code>"


def search(query):
    return f'<think>I search.</think><tool_call>{{"name": "search", "arguments": {{"query": "{query}"}}}}</tool_call>'


def answer(text, thought="So it is."):
    return f"<think>{thought}</think><answer>{text}</answer>"


@pytest.fixture
def trajectory(tools):
    """A trajectory of given turns, scored by whether the answer is 42."""

    def make(*turns, accuracy=1.0, images=1):
        store = ImageStore()
        refs = tuple(store.put(Image.new("RGB", (40, 40), (number, 0, 0))) for number in range(images))
        question = Question(id="q", text="How many?", images=refs, gold=("42",))
        agent = Agent(ScriptedPolicy(turns), Tools(code=tools.code, text=Pages()), limits=Limits(max_turns=6))
        done = asyncio.run(agent.run(question, store))
        return done.model_copy(update={"reward": {} if accuracy is None else {"accuracy": accuracy}})

    return make


def rules(trajectory, **settings):
    return [failure.partition(":")[0] for failure in failures(trajectory, VerifySettings(**settings))]


GOOD = (code("x = f(3)  # 42"), answer("42"))


@pytest.mark.parametrize(
    ("turns", "broken"),
    [
        (GOOD, []),
        ((search("capital"), answer("42", "Paris has 2145906.")), []),
        ((code("x = 1  # error"), *GOOD), ["error"]),
        ((search("nothing"), *GOOD), ["error"]),
        (("<think>What now?</think>", *GOOD), ["error", "actions"]),
        ((answer("42"),), ["no_call"]),
        ((code("# no code is needed here"), answer("42")), ["placeholder"]),
        ((code("x = f(3)  # 42"), code("x = f(3)"), answer("42")), ["placeholder", "repeated"]),
        ((search("capital"), answer("42")), ["unused"]),
        ((code("x = f(3)  # 42"), answer("42", "As image_2 shows.")), ["reference"]),
        ((code("image_2 = f(image_1)  # 42"), answer("42", "As image_2 shows.")), []),
        ((code("x = f(3)  # 42"), answer("42", "As image_" + "1" * 5000)), ["reference"]),
        ((code("x = f(3)  # 42").removesuffix("</code>"), answer("42")), ["actions"]),
        ((code("x = f(3)  # 42"), "<think>So.</think><answer>42"), ["actions"]),
    ],
)
def test_rules(trajectory, turns, broken):
    assert rules(trajectory(*turns)) == broken


@pytest.mark.parametrize(
    ("result", "thought", "broken"),
    [
        ("1184", "It is 1,184.", []),
        ("11841", "It is 1,184.", ["unused"]),
        ("\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd", "\u9996\u90fd\u662f\u5317\u4eac", []),
        ("\u5317\u4eac", "So it is.", ["unused"]),
        ("cafe\u0301", "A caf\u00e9.", []),
        ("Stra\u00dfe", "STRASSE", []),
        ("0.71834", "That is 0.72.", []),
        ("0.71834", "That is 0.71.", ["unused"]),
        ("0.71834", "That is 72 %.", []),
        ("2145906", "About 2.1 million people.", []),
        ("41.83", "So it is.", []),  # 42 is the answer
        ("43.83", "So it is.", ["unused"]),
        ("The capital of France has 2145906 people.", "Nobody has to look; it is a guess of mine.", ["unused"]),
        ("The capital of France has 2145906 people.", "So many people.", []),
        ("It is that of the other.", "So be it.", []),  # nothing that could be used
    ],
)
def test_a_result_is_used_in_any_script_and_spelling(trajectory, result, thought, broken):
    good = trajectory(code("x = f(3)  # 42"), answer("42", thought))
    seen = good.turns[0].observation
    cell = seen.model_copy(update={"cell": seen.cell.model_copy(update={"stdout": result})})
    turns = (good.turns[0].model_copy(update={"observation": cell}), good.turns[1])
    assert rules(good.model_copy(update={"turns": turns})) == broken


def test_a_turn_with_two_actions(trajectory):
    good = trajectory(*GOOD)
    twice = good.turns[0].model_copy(update={"text": good.turns[0].text + "<answer>41</answer>"})
    assert rules(good.model_copy(update={"turns": (twice, good.turns[1])})) == ["actions"]
    apart = good.turns[0].model_copy(update={"text": f"<think>So.</think><answer>41</answer>{good.turns[0].text}"})
    deepeyes = good.model_copy(update={"turns": (apart, good.turns[1]), "profile": "deepeyes-v2"})
    assert rules(deepeyes) == ["actions"]
    thought = good.turns[0].model_copy(update={"text": good.turns[0].text.replace("I look.", "Not <answer> yet.")})
    assert rules(good.model_copy(update={"turns": (thought, good.turns[1])})) == []


def test_wrong_unscored_and_unfinished(trajectory):
    assert rules(trajectory(*GOOD, accuracy=0.0)) == ["wrong"]
    assert rules(trajectory(*GOOD, accuracy=None)) == ["unscored"]
    assert rules(trajectory(*[code(f"f({n})  # 42") for n in range(6)]))[0] == "unfinished"


def test_what_is_allowed_is_not_refused(trajectory):
    assert rules(trajectory(answer("42")), needs_call=False) == []
    idle = trajectory(code("# no code is needed here"), answer("42"))
    assert rules(idle, placeholders=True) == []
    again = trajectory(code("x = f(3)  # 42"), code("x = f(3)"), answer("42"))
    assert rules(again, repeated_calls=True, placeholders=True) == []


def test_length_is_counted_or_guessed(trajectory):
    good = trajectory(*GOOD)
    assert length(good) == sum(len(turn.text) for turn in good.turns) // 4
    assert rules(good, most_tokens=length(good)) == [] and rules(good, most_tokens=length(good) - 1) == ["long"]
    counted = [turn.model_copy(update={"completion_tokens": 7}) for turn in good.turns]
    assert length(good.model_copy(update={"turns": tuple(counted)})) == 14
