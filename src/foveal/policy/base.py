"""What the agent asks of a policy: one `Conversation` per trajectory, token in, token out.

A conversation owns its token ids. Sampled ids are kept as they are; decoded text is never encoded again; only new
messages are tokenised and appended (DESIGN: token in, token out).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from foveal.config import Sampling
from foveal.trajectory import ImageStore, Message, Tokens


class Generation(NamedTuple):
    """One model turn."""

    text: str
    """What the model wrote, closing tag included, end-of-turn token excluded."""
    finish: Literal["stop", "length"]
    """`length`: cut at `max_tokens`."""
    prompt_tokens: int | None
    completion_tokens: int | None


def up_to_stop(text: str, stop: Sequence[str]) -> str:
    """The text up to and including the first stop string; all of it if there is none."""
    ends = [text.index(string) + len(string) for string in stop if string in text]
    return text[: min(ends, default=len(text))]


class Conversation(Protocol):
    """The policy's side of one trajectory."""

    @property
    def num_tokens(self) -> int | None:
        """Tokens in the context now, pictures included; None if the policy cannot tell."""

    def cost(self, message: Message) -> int | None:
        """Tokens that `append(message)` would add, pictures included; None if the policy cannot tell."""

    async def append(self, message: Message) -> None:
        """Add a system or user message (observations are user messages)."""

    async def generate(self, max_tokens: int, stop: Sequence[str]) -> Generation:
        """Sample the next assistant turn, up to and including the first of the `stop` strings.

        Raises:
            PolicyError: The endpoint or model failed.
        """

    def tokens(self) -> Tokens | None:
        """The exact ids, loss mask and log-probs so far; None if the policy does not give them."""

    async def close(self) -> None:
        """Free what the conversation holds. Safe to call twice and during cancellation."""


class Policy(Protocol):
    """Who writes the next words."""

    name: str

    def open(self, images: ImageStore, sampling: Sampling) -> Conversation:
        """Start a conversation whose messages may show pictures of `images`."""
