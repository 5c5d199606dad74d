"""What ends a trajectory: limits, budgets, failures, cancellation."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from foveal.agent import Agent
from foveal.config import Limits, Sampling
from foveal.policy.base import Generation
from foveal.policy.scripted import ScriptedConversation, ScriptedPolicy
from foveal.protocol import FOVEAL
from foveal.tools.session import Tools
from foveal.trajectory import (
    ImageStore,
    Message,
    Question,
    StopReason,
    Tokens,
    Trajectory,
)

TINY = FOVEAL.with_prompt("s")
ANSWER = "<think>t</think><answer>42</answer>"
PROMPT = len("s") + len("what?") + 100


class Counting:
    """The scripted policy with a token a letter and 100 a picture, and turns that can be cut."""

    name = "counting"

    def __init__(self, turns: Sequence[str]):
        self.turns = turns
        self.conversations: list[CountingConversation] = []

    def open(self, images: ImageStore, sampling: Sampling) -> "CountingConversation":
        self.conversations.append(CountingConversation(self.turns))
        return self.conversations[-1]


class CountingConversation(ScriptedConversation):
    def __init__(self, turns: Sequence[str]):
        super().__init__(turns)
        self.num_tokens_now = 0
        self.closed = 0

    @property
    def num_tokens(self) -> int:
        return self.num_tokens_now

    def cost(self, message: Message) -> int:
        return len(message.text) + 100 * len(message.images)

    async def append(self, message: Message) -> None:
        self.num_tokens_now += self.cost(message)
        await super().append(message)

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        whole = (await super().generate(max_tokens, stop)).text
        prompt = self.num_tokens_now
        text = whole[:max_tokens]
        self.num_tokens_now += len(text)
        return Generation(text, "stop" if text == whole else "length", prompt, len(text))

    def tokens(self) -> Tokens:
        return Tokens(ids=(1,) * self.num_tokens_now, loss_mask=(0,) * self.num_tokens_now,
                      logprobs=(0.0,) * self.num_tokens_now)  # fmt: skip

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def counting(sandbox, search):
    """A policy that counts, and an agent with it: `counting(*turns, **limits)`."""

    def make(*turns: str, **limits) -> tuple[Counting, Agent]:
        policy = Counting(turns)
        return policy, Agent(policy, Tools(code=sandbox, text=search), TINY, Limits(**limits))

    return make


def test_max_turns_runs_nothing_that_the_model_could_not_see(code, ask, scripted, sandbox):
    found = ask(scripted(code("a"), code("b"), ANSWER, max_turns=2))
    assert found.stop_reason is StopReason.MAX_TURNS and found.answer is None
    assert sandbox.ran == ["a"]
    assert found.turns[1].call is not None and found.turns[1].observation is None


def test_same_error_in_a_row_ends(code, ask, scripted):
    found = ask(scripted(*[code("fail")] * 9, max_repeated_errors=3))
    assert (found.stop_reason, len(found.turns)) == (StopReason.REPEATED_ERROR, 3)
    assert found.turns[-1].observation is not None and found.turns[-1].observation_parts == ()
    found = ask(scripted("hm", "hm", ANSWER, max_repeated_errors=2))
    assert (found.stop_reason, len(found.turns)) == (StopReason.REPEATED_ERROR, 2)


def test_other_errors_and_successes_reset_the_count(code, ask, scripted):
    fail, fine = code("fail"), code("print")
    found = ask(scripted(fail, fail, "hm", fail, fail, fine, fail, fail, ANSWER, max_repeated_errors=3))
    assert found.stop_reason is StopReason.ANSWERED


def test_policy_error_keeps_what_there_is(code, ask, scripted):
    found = ask(scripted(code("print")))
    assert found.stop_reason is StopReason.POLICY_ERROR
    assert found.error is not None and "script ended" in found.error
    assert len(found.turns) == 1 and found.turns[0].observation_parts


def test_wall_time_keeps_what_there_is(code, ask, scripted, sandbox):
    found = ask(scripted(code("a"), code("sleep"), ANSWER, wall_seconds=0.2))
    assert found.stop_reason is StopReason.WALL_TIME
    assert [turn.call.arguments["code"] for turn in found.turns if turn.call] == ["a", "sleep"]
    assert found.turns[0].observation is not None and found.turns[1].observation is None
    assert sandbox.closed == 1 and found.seconds < 5


def test_a_timeout_of_the_policy_is_not_taken_for_the_wall_time(ask):
    def late(messages: list[Message]) -> str:
        raise TimeoutError("a bug")

    with pytest.raises(TimeoutError, match="a bug"):
        ask(Agent(ScriptedPolicy(late), profile=TINY))


def test_turn_cut_without_an_action(code, ask, counting):
    policy, agent = counting(code("print"), max_turn_tokens=20)
    found = ask(agent)
    assert found.stop_reason is StopReason.MAX_TOKENS
    assert found.turns[0].finish == "length" and len(found.turns[0].text) == 20
    assert found.turns[0].observation is None
    assert found.tokens is not None and len(found.tokens.ids) == PROMPT + 20
    assert policy.conversations[0].closed == 1


def test_cut_answer_is_no_answer(ask, counting):
    _, agent = counting("<answer>forty-two</answer>", max_turn_tokens=13)
    found = ask(agent)
    assert (found.stop_reason, found.answer) == (StopReason.MAX_TOKENS, None)


def test_turn_that_ends_exactly_at_the_limit_counts(ask, counting):
    _, agent = counting(ANSWER, max_turn_tokens=len(ANSWER))
    assert ask(agent).answer == "42"


def test_whole_action_counts_even_if_the_endpoint_says_that_it_was_cut(code, ask, sandbox):
    class Cut(ScriptedConversation):
        async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
            return (await super().generate(max_tokens, stop))._replace(finish="length")

    class Endpoint(ScriptedPolicy):
        def open(self, images: ImageStore, sampling: Sampling) -> Cut:
            return Cut(self.turns)

    found = ask(Agent(Endpoint([code("print"), ANSWER]), Tools(code=sandbox), TINY))
    assert (found.answer, len(found.turns)) == ("42", 2)


def test_policy_that_cannot_foretell_costs_is_not_asked_for_a_word_too_many(ask):
    class Late(CountingConversation):
        def cost(self, message: Message) -> None:
            return None

        async def append(self, message: Message) -> None:
            self.num_tokens_now += len(message.text) + 100 * len(message.images)
            self.messages.append(message)

    class Policy(Counting):
        def open(self, images: ImageStore, sampling: Sampling) -> Late:
            return Late(self.turns)

    def run(max_context: int) -> Trajectory:
        return ask(Agent(Policy([ANSWER]), profile=TINY, limits=Limits(max_context=max_context)))

    assert (run(PROMPT).stop_reason, run(PROMPT).turns) == (StopReason.CONTEXT_FULL, ())
    assert len(run(PROMPT + 1).turns) == 1


def test_turn_limit_shrinks_to_what_is_left(ask, counting):
    _, agent = counting(ANSWER, max_context=PROMPT + 5)
    found = ask(agent)
    assert found.stop_reason is StopReason.CONTEXT_FULL and len(found.turns[0].text) == 5


def test_a_turn_cut_by_its_own_limit_is_told_from_one_cut_by_the_context(ask, counting):
    _, agent = counting(ANSWER, max_turn_tokens=5)
    found = ask(agent)
    assert found.stop_reason is StopReason.MAX_TOKENS and len(found.turns[0].text) == 5


def test_prompt_that_does_not_fit(ask, counting):
    for context in (1, PROMPT - 1, PROMPT):
        policy, agent = counting(ANSWER, max_context=context)
        found = ask(agent)
        assert (found.stop_reason, found.turns) == (StopReason.CONTEXT_FULL, ())
        assert policy.conversations[0].num_tokens < context


def test_observation_that_does_not_fit_is_recorded_and_not_shown(code, ask, counting):
    # Text and picture count together: the text alone would fit.
    room = len(code("crop")) + len("Code execution result:\nImages:\n") + 100
    policy, agent = counting(code("crop"), ANSWER, max_context=PROMPT + room)
    store = ImageStore()
    found = ask(agent, store=store)
    assert (found.stop_reason, len(found.turns)) == (StopReason.CONTEXT_FULL, 1)
    (turn,) = found.turns
    assert turn.observation is not None and turn.observation.cell is not None
    assert turn.observation_parts == () and len(found.images) == 1
    assert store.get(turn.observation.cell.images[0]).size == (40, 40)
    assert policy.conversations[0].num_tokens == PROMPT + len(code("crop"))
    _, agent = counting(code("crop"), ANSWER, max_context=PROMPT + room + len(ANSWER))
    assert ask(agent).answer == "42"


def test_policy_that_counts_only_afterwards_is_held_to_what_it_reported(code, ask, sandbox):
    class Reporting(ScriptedConversation):
        async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
            text = (await super().generate(max_tokens, stop)).text
            return Generation(text[:max_tokens], "stop", 900, 100)

    class Endpoint(ScriptedPolicy):
        def open(self, images: ImageStore, sampling: Sampling) -> Reporting:
            return Reporting(self.turns)

    def run(max_context: int) -> Trajectory:
        agent = Agent(Endpoint([code("print"), ANSWER]), Tools(code=sandbox), TINY, Limits(max_context=max_context))
        return ask(agent)

    full = run(1000)
    assert (full.stop_reason, len(full.turns)) == (StopReason.CONTEXT_FULL, 1)
    assert run(1000 + len(ANSWER)).answer == "42"


def test_cancellation_closes_everything_and_goes_on(code, sandbox):
    policy = Counting([code("sleep")])
    agent = Agent(policy, Tools(code=sandbox), TINY)

    async def run() -> None:
        store = ImageStore()
        task = asyncio.create_task(agent.run(Question(id="q", text="?"), store))
        while not sandbox.ran:
            await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.sleep(0.002)
        task.cancel("again, while it is closing")
        started = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 50
        assert policy.conversations[0].closed == 1 and sandbox.closed == 1

    asyncio.run(run())


def test_single_cancellation_waits_for_the_sandbox_to_close(code, scripted, sandbox):
    agent = scripted(code("sleep"))

    async def run() -> None:
        task = asyncio.create_task(agent.run(Question(id="q", text="?"), ImageStore()))
        while not sandbox.ran:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sandbox.closed == 1

    asyncio.run(run())
