"""A policy that says what it is told to: for tests, for teachers that know the answer, for replaying a recording."""

from collections.abc import Callable, Sequence

from foveal.config import Sampling
from foveal.errors import PolicyError
from foveal.policy.base import Generation, up_to_stop
from foveal.trajectory import ImageStore, Message, TextPart, Tokens


class ScriptedPolicy:
    """Writes given turns, or what a function makes of the conversation so far.

    It counts no tokens, so budgets in tokens do not apply to it.

    Args:
        turns: The turns of every conversation, in order; or a function from all messages so far (observations and the
            policy's own turns included) to the next turn.
        name: Recorded on trajectories.
    """

    def __init__(self, turns: Sequence[str] | Callable[[list[Message]], str], name: str = "scripted"):
        self.turns = turns
        self.name = name

    def open(self, images: ImageStore, sampling: Sampling) -> "ScriptedConversation":
        """Start a conversation at the first turn of the script."""
        return ScriptedConversation(self.turns)


class ScriptedConversation:
    """One run of the script."""

    def __init__(self, turns: Sequence[str] | Callable[[list[Message]], str]):
        self.messages: list[Message] = []
        self._turns = turns
        self._written = 0

    @property
    def num_tokens(self) -> int | None:
        """None: a script has no tokens."""
        return None

    def cost(self, message: Message) -> int | None:
        """None: a script has no tokens."""
        return None

    async def append(self, message: Message) -> None:
        """Note the message for the function of the script."""
        self.messages.append(message)

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        """The next turn, cut behind the first stop string as any policy does.

        Raises:
            PolicyError: The script has no further turn.
        """
        if callable(self._turns):
            text = self._turns(list(self.messages))
        elif self._written < len(self._turns):
            text = self._turns[self._written]
        else:
            raise PolicyError(f"the script ended after {self._written} turns", "write a turn for every observation")
        self._written += 1
        text = up_to_stop(text, stop)
        self.messages.append(Message(role="assistant", parts=(TextPart(text=text),)))
        return Generation(text, "stop", None, None)

    def tokens(self) -> Tokens | None:
        """None: a script has no tokens."""
        return None

    async def close(self) -> None:
        """Nothing to free."""
