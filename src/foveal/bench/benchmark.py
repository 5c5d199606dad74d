"""What a benchmark is: where its data are, how a row becomes a question, and how answers are scored.

A benchmark is one `Benchmark` in one file of `foveal.bench.benchmarks`; `foveal.bench.catalogue` lists them all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from foveal.bench.rows import Item, Row
from foveal.trajectory import Question

MAX_PIXELS = 16384 * 28 * 28
"""Largest area that a picture is shown with: that of the released DeepEyesV2 evaluation, 12.8 megapixels. It is also
the default of `Limits.max_image_pixels`."""

Group = Literal["realx", "perception", "reasoning", "search", "text"]
"""Table of the paper: 1; 2; 3; 4; and the text benchmarks of ARTIST."""


class Scored(NamedTuple):
    """A question with the score of one answer, between 0 and 1."""

    question: Question
    score: float


@dataclass(frozen=True)
class Tools:
    """Which tools are on, and why."""

    code: bool
    search: bool
    image_search: bool
    why: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tools that are on."""
        return tuple(name for name in ("code", "search", "image_search") if getattr(self, name))


CODE_ONLY = Tools(
    True, False, False, "the released evaluation has the code tool only; the paper does not say otherwise"
)
CODE_AND_SEARCH = Tools(True, True, True, "the questions need facts that no picture shows; the paper searches here")
CODE_FOR_TEXT = Tools(True, False, False, "ARTIST answers with Python alone")


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark."""

    name: str
    """On the command line."""
    title: str
    group: Group
    data: str
    """Id on the Hugging Face hub; or an address, where it is not there."""
    config: str | None = None
    split: str
    """Of the hub; rows of a local file are all read."""
    items: int
    """Questions that are published."""
    licence: str
    """Of the data, as their card or repository says; `not confirmed` where neither could be read."""
    read: Callable[[Row], Sequence[Item]]
    """The items of a row; raises BadRow."""
    rule: Callable[[str, Question], float | None]
    """Score of an answer between 0 and 1; None if no rule can tell."""
    judge: bool
    """Whether a language model is asked where no rule can tell. Without one such an answer scores 0."""
    scorer: str
    """How answers are scored, in one sentence."""
    suffix: str
    """Put behind every question; empty if the question itself says how to answer."""
    max_pixels: int = MAX_PIXELS
    tools: Tools
    summary: Callable[[Sequence[Scored]], Mapping[str, float]]
    """Figures of a run; `score` is the one that is reported."""
    scale: int = 100
    """The published figure is `score` times this."""
    paper: str
    """How the column of the paper came about, as far as that is known."""
    sources: tuple[str, ...]
    """Where the schema was read."""
    unconfirmed: str = ""
    """What could not be read at the source; empty if all of it was."""


def by_family(results: Sequence[Scored]) -> dict[str, float]:
    """`score`, the mean of all, and `family.<name>`, the mean of each family. Without results there are no figures."""
    return {**mean(results), **by(results, "family", lambda question: [question.family] if question.family else [])}


def mean(results: Sequence[Scored]) -> dict[str, float]:
    """`score`: the mean of all. Without results there are no figures."""
    return {"score": sum(result.score for result in results) / len(results)} if results else {}


def by(results: Sequence[Scored], name: str, keys: Callable[[Question], Iterable[str]]) -> dict[str, float]:
    """`<name>.<key>`: the mean of all results that have the key, sorted by key."""
    found: dict[str, list[float]] = {}
    for result in results:
        for key in keys(result.question):
            found.setdefault(key, []).append(result.score)
    return {f"{name}.{key}": sum(scores) / len(scores) for key, scores in sorted(found.items())}


def by_meta(field: str) -> Callable[[Sequence[Scored]], dict[str, float]]:
    """A summary of `by_family` with the means by a field of `meta`, whose value is a text or a list of texts."""

    def keys(question: Question) -> list[str]:
        value = question.meta.get(field)
        return [str(one) for one in value] if isinstance(value, list) else [] if value is None else [str(value)]

    return lambda results: {**by_family(results), **by(results, field, keys)}
