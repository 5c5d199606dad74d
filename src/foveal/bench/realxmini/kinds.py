"""The kinds of questions: what each shows, looks up and computes, and so which steps it needs."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

Domain = Literal["countries", "brands", "charts", "street"]
Hop = Literal["perception", "image_search", "search", "reason"]
Seen = Literal["number", "name", "content", "count", "longest", "shortest", "extremes", "gap"]

DOMAINS: tuple[Domain, ...] = ("countries", "brands", "charts", "street")
HOPS: tuple[Hop, ...] = ("perception", "image_search", "search", "reason")


class Kind(NamedTuple):
    """A kind of questions."""

    domain: Domain
    name: str
    seen: Seen
    """What is taken from the picture: the words of a card, its content, how often that lies about, or bars."""
    facts: tuple[str, ...]
    """What is looked up about what was seen; empty: nothing."""
    operation: str
    """What is computed from the values; empty: the value itself is the answer."""
    text: str
    """`{a}` and `{b}` are marks of cards; `{chart}` is the chart that is meant."""

    @property
    def search(self) -> bool:
        """Whether it needs a search."""
        return bool(self.facts) or self.seen == "content"

    @property
    def reason(self) -> bool:
        """Whether it needs a computation."""
        return bool(self.operation)

    @property
    def subjects(self) -> int:
        """How many cards, or bars, it is about."""
        return 2 if "{b}" in self.text or self.seen in ("extremes", "gap") else 1

    def hops(self, near: bool) -> tuple[Hop, ...]:
        """The steps without which it cannot be answered; `near`: its picture must be looked at closely."""
        needed = {
            "perception": near,
            "image_search": self.seen == "content",
            "search": bool(self.facts),
            "reason": self.reason,
        }
        return tuple(hop for hop in HOPS if needed[hop])


_FLAG = "the country whose flag is on the card marked {a}"
_OTHER_FLAG = "the country whose flag is on the card marked {b}"
_LOGO = "the company whose logo is on the card marked {a}"
_OTHER_LOGO = "the company whose logo is on the card marked {b}"
_LONGEST = "the country with the longest bar in {chart}"
_PLACE = "the place that is written on the card marked {a}"
_OTHER_PLACE = "the place that is written on the card marked {b}"
_NUMBER = "What number is on the card marked {a}?"
_SUM = "What is the number on the card marked {a} plus the number on the card marked {b}?"
_PRODUCT = "What is the number on the card marked {a} times the number on the card marked {b}?"

KINDS = (
    Kind("countries", "number", "number", (), "", _NUMBER),
    Kind("countries", "sum", "number", (), "sum", _SUM),
    Kind("countries", "product", "number", (), "product", _PRODUCT),
    Kind("countries", "name", "content", (), "", "Which country's flag is on the card marked {a}?"),
    Kind("countries", "capital", "content", ("capital",), "", f"What is the capital of {_FLAG}?"),
    Kind("countries", "population", "content", ("population",), "", f"How many thousand people live in {_FLAG}?"),
    Kind("countries", "area", "content", ("area",), "", f"What is the area of {_FLAG}, in square kilometres?"),
    Kind(
        "countries", "density", "content", ("population", "area"), "density",
        f"How many people live on a square kilometre of {_FLAG}? Round to a whole number.",
    ),
    Kind(
        "countries", "populations", "content", ("population",), "sum",
        f"How many thousand people live in {_FLAG} and in {_OTHER_FLAG} together?",
    ),
    Kind(
        "countries", "areas", "content", ("area",), "difference",
        f"By how many square kilometres do the areas of {_FLAG} and of {_OTHER_FLAG} differ?",
    ),
    Kind("brands", "number", "number", (), "", _NUMBER),
    Kind("brands", "sum", "number", (), "sum", _SUM),
    Kind("brands", "product", "number", (), "product", _PRODUCT),
    Kind("brands", "name", "content", (), "", "Which brand's logo is on the card marked {a}?"),
    Kind("brands", "founded", "content", ("founded",), "", f"In which year was {_LOGO} founded?"),
    Kind("brands", "employees", "content", ("employees",), "", f"How many employees has {_LOGO}?"),
    Kind(
        "brands", "years", "content", ("founded",), "difference",
        f"How many years lie between the founding years of {_LOGO} and of {_OTHER_LOGO}?",
    ),
    Kind(
        "brands", "workers", "content", ("employees",), "sum",
        f"How many employees have {_LOGO} and {_OTHER_LOGO} together?",
    ),
    Kind("charts", "longest", "longest", (), "", "Which country has the longest bar in {chart}?"),
    Kind("charts", "shortest", "shortest", (), "", "Which country has the shortest bar in {chart}?"),
    Kind(
        "charts", "gap", "gap", (), "gap",
        "By how many years does the longest bar exceed the shortest bar in {chart}? Round to a whole number.",
    ),
    Kind("charts", "capital", "longest", ("capital",), "", f"What is the capital of {_LONGEST}?"),
    Kind("charts", "population", "longest", ("population",), "", f"How many thousand people live in {_LONGEST}?"),
    Kind("charts", "area", "longest", ("area",), "", f"What is the area of {_LONGEST}, in square kilometres?"),
    Kind(
        "charts", "density", "longest", ("population", "area"), "density",
        f"How many people live on a square kilometre of {_LONGEST}? Round to a whole number.",
    ),
    Kind(
        "charts", "populations", "extremes", ("population",), "sum",
        "How many thousand people live together in the two countries with the longest and the shortest bar in {chart}?",
    ),
    Kind("street", "number", "number", (), "", _NUMBER),
    Kind("street", "place", "name", (), "", "Which place is written on the card marked {a}?"),
    Kind("street", "sum", "number", (), "sum", _SUM),
    Kind(
        "street", "count", "count", (), "count",
        "How many of the round stickers beside the cards show the same thing as the card marked {a}?",
    ),
    Kind("street", "country", "name", ("country",), "", f"In which country is {_PLACE}?"),
    Kind("street", "population", "name", ("population",), "", f"How many people live in {_PLACE}?"),
    Kind(
        "street", "populations", "name", ("population",), "sum",
        f"How many people live in {_PLACE} and in {_OTHER_PLACE} together?",
    ),
    Kind(
        "street", "contrast", "name", ("population",), "difference",
        f"By how much do the populations of {_PLACE} and of {_OTHER_PLACE} differ?",
    ),
)  # fmt: skip


def fitting(domain: Domain, search: bool, reason: bool) -> list[Kind]:
    """The kinds of a domain that need a search, and a computation, or not."""
    return [one for one in KINDS if (one.domain, one.search, one.reason) == (domain, search, reason)]


def find(domain: str, name: str) -> Kind:
    """The kind of a question's record."""
    return next(one for one in KINDS if (one.domain, one.name) == (domain, name))


def compute(operation: str, values: Sequence[float]) -> float:
    """What an operation makes of its values."""
    first, last = values[0], values[-1]
    match operation:
        case "sum":
            return first + last
        case "difference":
            return abs(first - last)
        case "product":
            return first * last
        case "density":
            return round(first * 1000 / last)
        case "gap":
            return round(first - last)
    return first
