"""The questions: which there are, what each is about, its answer in either split, and its picture.

A question is planned first (`plan`: no picture, no search), then drawn (`draw`). Planning is random, but what would
make a question unfair is never taken: an answer that is one of its own values, that both splits share, or that
another question of the kind has.
"""

import functools
import io
import random
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import JsonValue

from foveal.bench.realxmini import assets, charts, corpus, kinds, reader, scenes
from foveal.bench.realxmini.facts import Split, World, world, writable
from foveal.bench.realxmini.kinds import DOMAINS, Domain, Kind
from foveal.tools.search.layout import colour_layout, distances

AXES: Mapping[tuple[bool, bool, bool], int] = {
    (False, False, False): 15,
    (True, False, False): 18,
    (False, True, False): 43,
    (False, False, True): 28,
    (True, True, False): 46,
    (True, False, True): 28,
    (False, True, True): 50,
    (True, True, True): 72,
}
"""Perception, search, reason to the number of questions. On each axis, and on all three, there are as many as in
RealX-Bench: its table divides by 164, 211, 178 and 72 of 300."""
COUNT = sum(AXES.values())
MARGIN = 0.8
"""By how much (of 255) a flag or logo must be nearer to its own picture in the index than to any other."""
SPLITS: tuple[Split, ...] = ("real", "counterfactual")
_ALIASES = {
    "United States": ("USA", "US", "United States of America"),
    "United Kingdom": ("UK", "Great Britain"),
    "Czechia": ("Czech Republic",),
    "Ivory Coast": ("Cote d'Ivoire", "Côte d'Ivoire"),
    "Eswatini": ("Swaziland",),
    "Myanmar": ("Burma",),
    "United Arab Emirates": ("UAE",),
    "Cabo Verde": ("Cape Verde",),
    "Timor Leste": ("East Timor", "Timor-Leste"),
    "Russia": ("Russian Federation",),
    "South Korea": ("Republic of Korea",),
    "Democratic Republic of the Congo": ("DR Congo", "DRC"),
    "Republic of the Congo": ("Congo-Brazzaville",),
    "Nur-Sultan": ("Astana",),
    "Nay Pyi Taw": ("Naypyidaw",),
    "Kyiv": ("Kiev",),
    "Washington": ("Washington, D.C.", "Washington D.C."),
}
DISPUTED = frozenset({"Jerusalem", "East Jerusalem", "El-Aaiun"})
"""Capitals that are not asked for: not everybody would call them so."""


class Slot(NamedTuple):
    """A question that is to be made."""

    kind: Kind
    near: bool


class Plan(NamedTuple):
    """A question without its picture."""

    slot: Slot
    text: str
    marks: tuple[str, ...]
    """Of the cards that it is about; of the chart; empty for the only chart."""
    gold: dict[Split, tuple[str, ...]]
    cards: tuple[tuple[str, str, str], ...]
    """Mark, key of the content (flag, logo, thing; empty: none), words."""
    loose: tuple[str, ...]
    """Things on stickers beside the cards."""
    panels: tuple[charts.Panel, ...]


def slots(seed: int) -> list[Slot]:
    """The 300 questions to make, mixed; the domains and their kinds take turns."""
    found: list[Slot] = []
    turn = 0
    used: dict[tuple[Domain, bool, bool], int] = {}
    for (near, search, reason), count in AXES.items():
        for _ in range(count):
            domain = DOMAINS[turn % len(DOMAINS)]
            turn += 1
            place = (domain, search, reason)
            choices = kinds.fitting(*place)
            found.append(Slot(choices[used.get(place, 0) % len(choices)], near))
            used[place] = used.get(place, 0) + 1
    random.Random(f"slots-{seed}").shuffle(found)
    return found


def plans(seed: int, count: int = COUNT) -> Iterator[Plan]:
    """The first `count` questions of a seed, planned."""
    taken: set[tuple[Kind, str]] = set()
    for number, slot in enumerate(slots(seed)[:count]):
        rng = random.Random(f"plan-{seed}-{number}")
        while (made := plan(rng, slot)) is None or (slot.kind, made.gold["real"][0]) in taken:
            continue
        # Small counts cannot all be different.
        if slot.kind.seen not in ("count", "gap"):
            taken.add((slot.kind, made.gold["real"][0]))
        yield made


def plan(rng: random.Random, slot: Slot) -> Plan | None:
    """A random question of a slot; None if it would be unfair."""
    kind = slot.kind
    if kind.domain == "charts":
        return _plan_chart(rng, slot)
    count = scenes.NEAR_CARDS if slot.near else scenes.FAR_CARDS
    marks = scenes.marks(rng, count)
    contents = _contents(rng, kind, slot.near, count)
    words = _words(rng, kind, count)
    about = range(kind.subjects)
    loose: list[str] = []
    if kind.domain == "street":
        often = rng.sample(range(2, 10) if slot.near else range(2, 5), 3)
        loose = [name for name, times in zip(contents, often, strict=False) for _ in range(times)]
        rng.shuffle(loose)
    seen: list[str] = {"content": contents, "count": contents}.get(kind.seen, words)
    gold = {}
    for split in SPLITS:
        truths = world(split)
        values = (
            [loose.count(seen[0])]
            if kind.seen == "count"
            else [value for i in about for value in _values(truths, kind, seen[i])]
        )
        gold[split] = _gold(kind, values)
        if kind.reason and kind.seen != "count" and gold[split][0] in {str(value) for value in values}:
            return None
    if not _fair(kind, gold):
        return None
    text = kind.text.format(**dict(zip("ab", marks, strict=False)))
    cards = list(zip(marks, contents, words, strict=True))
    order = rng.sample(cards, len(cards))
    return Plan(slot, text, tuple(marks[i] for i in about), gold, tuple(order), tuple(loose), ())


def _plan_chart(rng: random.Random, slot: Slot) -> Plan | None:
    kind, near = slot.kind, slot.near
    panels, bars = (charts.NEAR_PANELS, charts.NEAR_BARS) if near else (1, charts.FAR_BARS)
    true = world("real")
    years = {
        true.countries[code].name: value
        for code, value in assets.life_expectancy().items()
        if code in true.countries and writable(true.countries[code].name)
    }
    names = rng.sample(sorted(years), panels * bars)
    marks = scenes.marks(rng, panels) if near else [""]
    drawn = [
        charts.Panel(mark, tuple((name, years[name]) for name in names[i * bars : (i + 1) * bars]))
        for i, mark in enumerate(marks)
    ]
    meant = sorted(drawn[0].bars, key=lambda bar: -bar[1])
    # The longest and the shortest must be told from the next at the base view.
    if meant[0][1] - meant[1][1] < 2 or meant[-2][1] - meant[-1][1] < 2:
        return None
    ends = {"longest": [meant[0]], "shortest": [meant[-1]]}.get(kind.seen, [meant[0], meant[-1]])
    gold = {}
    for split in SPLITS:
        if kind.seen == "gap":
            exact = meant[0][1] - meant[-1][1]
            # A bar's end is read, not printed: one year more or less is right.
            gold[split] = tuple(str(round(exact) + off) for off in (0, -1, 1))
            continue
        values = [value for name, _ in ends for value in _values(world(split), kind, name)]
        gold[split] = _gold(kind, values)
        if kind.reason and gold[split][0] in {str(value) for value in values}:
            return None
    if not _fair(kind, gold):
        return None
    text = kind.text.format(chart=f"the chart marked {marks[0]}" if near else "the chart")
    rng.shuffle(drawn)
    return Plan(slot, text, (marks[0],) if near else (), gold, (), (), tuple(drawn))


def draw(rng: random.Random, planned: Plan) -> tuple[bytes, dict[str, JsonValue]]:
    """The picture of a question as a JPEG file, and where what lies on it."""
    if planned.panels:
        drawn = charts.draw(rng, planned.panels, planned.slot.near)
    else:
        domain = planned.slot.kind.domain
        cards = [scenes.Card(mark, _content(domain, key), words) for mark, key, words in planned.cards]
        things = [assets.things()[name] for name in planned.loose]
        drawn = scenes.draw(rng, cards, planned.slot.near, things)
    buffer = io.BytesIO()
    drawn.image.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), drawn.layout


@functools.cache
def prior(kind: Kind, near: bool, draws: int = 300) -> str:
    """The best answer to a kind of questions without picture and documents: the most frequent one of its making."""
    rng = random.Random(f"prior-{kind.domain}-{kind.name}-{near}")
    answers: dict[str, int] = {}
    for _ in range(draws):
        if made := plan(rng, Slot(kind, near)):
            for gold in made.gold["real"]:
                answers[gold] = answers.get(gold, 0) + 1
    return max(sorted(answers), key=answers.__getitem__)


def _contents(rng: random.Random, kind: Kind, near: bool, count: int) -> list[str]:
    """Keys of what is on the cards, the cards in question first."""
    if kind.domain == "street":
        return rng.sample(sorted(assets.things()), count)
    return rng.sample(clear(kind.domain, near), count)


def _words(rng: random.Random, kind: Kind, count: int) -> list[str]:
    if kind.domain == "street" and kind.seen != "number":
        return rng.sample(sorted(world("real").cities), count)
    return [str(number) for number in rng.sample(range(12, 98), count)]


def _values(truths: World, kind: Kind, key: str) -> list[str | int]:
    """What is true of something seen: its facts, or itself."""
    if kind.seen == "number":
        return [int(key)]
    match kind.domain:
        case "countries":
            known: object = truths.countries[key]
        case "brands":
            known = truths.brands[key]
        case "charts":
            known = truths.country(key)
        case _:
            known = truths.cities[key]
    return [getattr(known, fact) for fact in kind.facts or ("name",)]


def _gold(kind: Kind, values: Sequence[str | int]) -> tuple[str, ...]:
    if not kind.reason:
        name = str(values[0])
        plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        return tuple(dict.fromkeys([name, *([plain] if len(plain) == len(name) else []), *_ALIASES.get(name, ())]))
    return (str(int(kinds.compute(kind.operation, [float(value) for value in values]))),)


def _fair(kind: Kind, gold: Mapping[Split, tuple[str, ...]]) -> bool:
    """Whether memory of the real world does not answer the edited one, and nobody disputes the answer."""
    return not kind.search or not set(gold["real"]) & (set(gold["counterfactual"]) | DISPUTED)


def _content(domain: Domain, key: str) -> Image.Image:
    match domain:
        case "countries":
            return assets.flags("scene")[key]
        case "brands":
            return next(logo for logo in assets.logos() if logo.name == key).tile(192, scenes.LOGO_SHARE)
    return assets.sticker(assets.things()[key], 192)


@functools.cache
def clear(domain: Domain, near: bool) -> tuple[str, ...]:
    """Flags (by code) or logos (by brand) that image search finds by what a picture of that kind shows of them."""
    true = world("real")
    keys = sorted(true.countries.keys() - assets.unclear_flags()) if domain == "countries" else _symbols()
    side = scenes.SMALL_SIDE if near else scenes.LARGE_SIDE
    return tuple(
        key for key in keys if _finds(domain, key, side, 0, 1.0, near) and _finds(domain, key, side, 2, 0.88, near)
    )


def _symbols() -> list[str]:
    """Brands whose logo does not spell their name: it must be searched for, not read."""
    return sorted(row["name"] for row in assets.brand_rows() if row.get("symbol"))


def _finds(domain: Domain, key: str, side: tuple[int, int], shift: int, light: float, near: bool) -> bool:
    """Whether a crop of it, `shift` pixels off the grid and in less light, is nearest to its own entry by a margin."""
    true = world("real")
    title = f"Flag of {true.countries[key].name}" if domain == "countries" else f"Logo of {true.brands[key].name}"
    content = scenes.fitted(_content(domain, key), side).point(lambda value: round(value * light))
    left = 24 + shift
    box = (left, left, left + content.width, left + content.height)
    around = Image.new("RGB", (box[2] + 24, box[3] + 24), (200, 200, 200))
    around.paste(content, box)
    seen = around if near else reader.base_view(around, scenes.SIZE[0])
    titles, layouts = _index_layouts()
    away = distances(layouts, colour_layout(seen.crop(box)))
    first, second = np.partition(away, 1)[:2]
    return titles[int(np.argmin(away))] == title and bool(second - first > MARGIN)


@functools.cache
def _index_layouts() -> tuple[list[str], npt.NDArray[np.float32]]:
    """Titles and descriptors of the picture index of the real split."""
    every = list(corpus.pictures(world("real")))
    return [one.title for one in every], np.array([colour_layout(one.image) for one in every])
