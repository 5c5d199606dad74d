"""What a dataset card holds: the records of FOLDER/card.json, which the page is drawn from."""

from typing import Literal

from pydantic import JsonValue

from foveal.trajectory import Record

CARD_VERSION: Literal[1] = 1
"""Version of card.json. `foveal view` refuses versions that it does not know."""


class CardExample(Record):
    """A question, and what became of it."""

    id: str
    text: str
    """Its beginning, if it is long; of a raw row that was set aside, what the row said."""
    gold: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    """Files, from the folder of the curation."""
    reason: str | None = None
    """Why it was dropped; None if it was kept."""


class CardStage(Record):
    """What a step did to the rows that it was given."""

    step: str
    rows_in: int
    rows_out: int
    waiting: int
    """Rows that the step knows nothing of yet."""
    dropped: dict[str, int]
    """By reason, the most frequent first."""
    examples: tuple[CardExample, ...]


class CardRates(Record):
    """How often a model was right at the questions of a sampling step."""

    step: str
    counts: tuple[int, ...]
    """Questions that were answered right 0, 1, ... k times."""
    fates: tuple[str, ...]
    """What becomes of each of them, in a word or two."""
    unfinished: int
    """Questions without as many scored samples as the settings want; they are not counted."""


class CardFile(Record):
    """A raw file."""

    name: str
    sha256: str
    """The first 12 digits."""
    size: int
    """Bytes."""
    rows: int


class CardSource(Record):
    """Where rows came from, and under which licence."""

    name: str
    holds: Literal["questions", "reasoning"]
    licence: str | None
    url: str | None
    rows: int
    kept: int
    rejected: dict[str, int]
    """Rows set aside, by reason."""
    files: tuple[CardFile, ...]


class CardTeacher(Record):
    """What a teacher made of the questions that it was asked."""

    name: str
    policy: str | None
    """The model, by the name that it was asked under; None if the teacher was not asked yet."""
    trajectories: int
    good: int
    """Those that broke no rule."""
    solved: int
    """Questions with a good one."""
    failures: dict[str, int]
    """Trajectories that broke a rule, by rule; one may break several."""
    tokens: int
    """That it wrote, counted or estimated."""


class CardSpent(Record):
    """What the endpoints of a step took so far."""

    step: str
    calls: int
    tokens: int
    """Sent and written."""
    money: float
    """In the currency of the prices in the settings."""


class CardBin(Record):
    """Trajectories of `start` to `end` - 1 tokens."""

    start: int
    end: int | None
    """None: and all that are longer."""
    count: int


class CardLengths(Record):
    """How long the trajectories of the cold-start set are: tokens that the model wrote, not what tools gave back."""

    holds: Literal["tools", "reasoning"]
    count: int
    estimated: int
    """Trajectories whose tokens nobody counted: characters / 4."""
    mean: float
    quantiles: dict[str, int]
    """min, 5 %, 25 %, 50 %, 75 %, 95 %, max."""
    histogram: tuple[CardBin, ...]


class CardSet(Record):
    """A part of a set."""

    set: Literal["sft", "rl"]
    part: Literal["train", "held_out"]
    file: str
    """From the folder of the curation."""
    rows: int
    """Trajectories, or questions."""
    questions: int
    """Different ones."""
    reasoning: int
    """Rows without pictures and tools among them."""
    teachers: dict[str, int]
    """Rows by teacher; empty for questions."""
    families: dict[str, int]
    """Rows by kind of question, reasoning left out."""


class Card(Record):
    """A curation in figures; this is card.json."""

    version: Literal[1] = CARD_VERSION
    foveal: str
    """Version of foveal that wrote it."""
    name: str
    """Of the folder."""
    questions: int
    """In the question set."""
    stages: tuple[CardStage, ...]
    rates: tuple[CardRates, ...]
    sources: tuple[CardSource, ...]
    teachers: tuple[CardTeacher, ...]
    spent: tuple[CardSpent, ...]
    lengths: tuple[CardLengths, ...]
    sets: tuple[CardSet, ...]
    """Empty until they are cut."""
    settings: dict[str, JsonValue]
    """All of them, defaults too."""
