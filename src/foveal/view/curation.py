"""A curation as one page: how many questions each step let through, with examples, and what the sets hold.

Drawn from card.json (`foveal curate card`) and the pictures beside it alone; the page runs no script.
"""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from foveal.errors import RecordError
from foveal.records import FILE
from foveal.view.bars import Columns, Part, bar, columns, legend, percent, tally
from foveal.view.html import Html, join, tag
from foveal.view.site import document
from foveal.view.words import count

CARD = "card.json"
PAGE = "page.html"
PICTURES = "pictures"
QUESTIONS = "questions.jsonl"
VERSION = 1
"""Of the cards that can be drawn."""

SHOWN = frozenset({".png", ".jpg", ".webp", ".gif", ".bmp"})
"""Suffixes of pictures that browsers show."""
STEPS = {
    "sources": "raw rows that are questions",
    "check": "no repetition, no leak from a benchmark",
    "difficulty": "the student fails without tools",
    "benefit": "it fails with tools too; what it solves goes to reinforcement learning",
    "verify": "a teacher wrote a trajectory to learn from",
    "sft": "taken into the cold-start set",
    "window": "neither hopeless nor certain with tools",
    "rl": "taken into the set of reinforcement learning",
}
RATES = {
    "difficulty": "without tools",
    "benefit": "with tools",
    "window": "with tools, by the model that reinforcement learning starts from",
}
FATES = {"hard": "keeps", "cold start": "keeps", "solved": "moves", "in the window": "moves"}
"""Colors of what becomes of a question; of others that of what is dropped."""
TO_RL = ("solved", "reinforcement learning")
"""Reasons of what a step did not let through, and what goes to the other set."""
SETS = {"sft": "cold start", "rl": "reinforcement learning"}

Facts = Mapping[str, Any]


def holds_curation(folder: Path) -> bool:
    """Whether a folder is one of a curation, and not of a run."""
    return not (folder / FILE).exists() and ((folder / CARD).is_file() or (folder / QUESTIONS).is_file())


def render_curation(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a curation.

    Args:
        folder: The curation; `foveal curate card` has written its card.
        out: Where the page goes, with a copy of the pictures that it shows; None writes it into the folder itself.

    Returns:
        The path of `page.html`.

    Raises:
        RecordError: There is no card, or it cannot be read.
    """
    card = _read(folder / CARD)
    target = folder if out is None else out
    target.mkdir(parents=True, exist_ok=True)
    if target.resolve() != folder.resolve():
        _copy_pictures(folder, target, card)
    page = target / PAGE
    page.write_text(document(card["name"], "report", _body(card, target), script=False), encoding="utf-8")
    return page


def _read(file: Path) -> Facts:
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{file.parent} holds no {CARD}", "write it: foveal curate card") from None
    except (OSError, ValueError) as error:
        raise RecordError(f"{file} cannot be read: {error}", "write it again: foveal curate card") from error
    version = card.get("version") if isinstance(card, dict) else None
    if version != VERSION:
        raise RecordError(
            f"{file} is of version {version}; this foveal draws version {VERSION}",
            "write it again: foveal curate card",
        )
    return dict(card)


def _copy_pictures(folder: Path, target: Path, card: Facts) -> None:
    (target / PICTURES).mkdir(exist_ok=True)
    named = {_file(example) for stage in card["stages"] for example in stage["examples"]}
    for file in sorted(name for name in named if name is not None):
        if (folder / PICTURES / file).is_file():  # a missing picture is named on the page
            shutil.copyfile(folder / PICTURES / file, target / PICTURES / file)


def _file(example: Facts) -> str | None:
    """Name of the first picture in the folder of pictures, whatever the path says; None without one."""
    return PurePosixPath(example["pictures"][0]).name if example["pictures"] else None


def _body(card: Facts, folder: Path) -> Html:
    sections = [
        _section("Funnel", _funnel(card["stages"], folder)),
        _section("How often the student was right", *(_rates(rates) for rates in card["rates"]), class_="pair"),
        _section("Sets", *(_set(one) for one in card["sets"]), class_="pair"),
        _section("Teachers", *(_teacher(one) for one in card["teachers"]), class_="pair"),
        _section("Lengths of the cold start", *(_lengths(one) for one in card["lengths"]), class_="pair"),
        _section("Provenance and licences", *(_source(one) for one in card["sources"]), class_="pair"),
    ]
    settings = json.dumps(card["settings"], indent=2, ensure_ascii=False)
    footer = tag(
        "footer",
        tag("details", tag("summary", "settings"), tag("pre", settings)),
        tag("p", f"foveal {card['foveal']} · drawn from {CARD}", class_="dim"),
    )
    return tag("main", _top(card), *sections, footer)


def _section(title: str, *children: Html, class_: str = "") -> Html | None:
    """A part of the page; None if there is nothing in it."""
    return tag("section", tag("h2", title), tag("div", *children, class_=class_ or None)) if children else None


def _top(card: Facts) -> Html:
    figures = [("raw rows", f"{sum(one['rows'] for one in card['sources'] if one['holds'] == 'questions'):,}")]
    figures.append(("questions", f"{card['questions']:,}"))
    for name, words in SETS.items():
        rows = {one["part"]: one["rows"] for one in card["sets"] if one["set"] == name}
        if rows:
            held_out = f" + {rows['held_out']:,} held out" if rows.get("held_out") else ""
            figures.append((words, f"{rows.get('train', 0):,}{held_out}"))
    totals = [tag("div", tag("dt", words), tag("dd", value)) for words, value in figures]
    notes = [] if card["sets"] else ["The sets are not cut yet: foveal curate split."]
    if calls := sum(one["calls"] for one in card["spent"]):
        money = sum(one["money"] for one in card["spent"])
        tokens = tally(sum(one["tokens"] for one in card["spent"]))
        cost = f" and {money:,.2f} in the currency of the prices" if money else ""
        notes.append(f"The endpoints took {calls:,} calls, {tokens} tokens{cost}.")
    return tag(
        "header",
        tag("p", "curation", class_="eyebrow"),
        tag("h1", card["name"]),
        tag("dl", *totals, class_="totals"),
        *(tag("p", note, class_="dim") for note in notes),
        class_="run",
    )


def _funnel(stages: Sequence[Facts], folder: Path) -> Html:
    whole = max((stage["rows_in"] for stage in stages), default=0)
    named = ("goes on", "keeps"), ("to reinforcement learning", "moves"), ("waiting", "waits"), ("dropped", "drops")
    there = {kind for stage in stages for _, kind in _parts(stage)}
    key = legend([(words, kind, None) for words, kind in named if kind in there])
    return join([key, tag("ol", *(_stage(stage, whole, folder) for stage in stages), class_="funnel")])


def _parts(stage: Facts) -> list[tuple[int, str]]:
    """What became of the rows of a step, with the color of each, empty ones left out."""
    moved = sum(stage["dropped"].get(reason, 0) for reason in TO_RL)
    dropped = sum(stage["dropped"].values()) - moved
    kept = "moves" if stage["step"] in ("window", "rl") else "keeps"
    parts = ((stage["rows_out"], kept), (moved, "moves"), (stage["waiting"], "waits"), (dropped, "drops"))
    return [(rows, kind) for rows, kind in parts if rows]


def _stage(stage: Facts, whole: int, folder: Path) -> Html:
    rows_in, rows_out = stage["rows_in"], stage["rows_out"]
    chips = [_chip(reason, rows, rows_in) for reason, rows in stage["dropped"].items()]
    if stage["waiting"]:
        chips.append(_chip("waiting", stage["waiting"], rows_in, "warn"))
    drawn = bar([Part(rows / whole, kind) for rows, kind in _parts(stage)])
    number = tag("b", f"{rows_out:,}"), tag("small", f" of {rows_in:,} · {percent(rows_out, rows_in)}", class_="dim")
    return tag(
        "li",
        tag("div", tag("h3", stage["step"]), tag("small", STEPS.get(stage["step"], ""), class_="dim"), class_="step"),
        tag("div", drawn, tag("p", *chips, class_="chips") if chips else None, class_="flow"),
        tag("p", *number, class_="number"),
        _examples(stage["examples"], folder) if stage["examples"] else None,
    )


def _chip(words: str, rows: int, whole: int, class_: str = "") -> Html:
    return tag(
        "span", words, " ", tag("b", f"{rows:,}"), f" · {percent(rows, whole)}", class_=f"chip {class_}".rstrip()
    )


def _examples(examples: Sequence[Facts], folder: Path) -> Html:
    groups: dict[str | None, list[Facts]] = {}
    for example in examples:
        groups.setdefault(example["reason"], []).append(example)
    shown, words = [], Counter[str]()
    for reason, group in groups.items():
        fate = "kept" if reason is None else "to reinforcement learning" if reason in TO_RL else "dropped"
        words[fate] += len(group)
        shown.append(tag("h4", f"{fate}: {reason}" if fate == "dropped" else fate))
        shown.append(tag("ol", *(_example(example, folder) for example in group), class_="cards"))
    said = ", ".join(f"{number} {fate}" for fate, number in words.items())
    return tag("details", tag("summary", f"{count(len(examples), 'example')}: {said}"), *shown)


def _example(example: Facts, folder: Path) -> Html:
    gold = tag("small", "gold ", tag("b", " · ".join(example["gold"])), class_="gold") if example["gold"] else None
    more = f" · {len(example['pictures'])} pictures" if len(example["pictures"]) > 1 else ""
    words = tag("div", tag("p", example["text"]), gold, tag("small", example["id"] + more))
    return tag("li", _picture(example, folder), words)


def _picture(example: Facts, folder: Path) -> Html | None:
    name = _file(example)
    if name is None:
        return None
    if not (folder / PICTURES / name).is_file():
        return tag("figure", tag("p", f"{name[:12]}… is missing", class_="missing"))
    address = f"{PICTURES}/{quote(name)}"
    if PurePosixPath(name).suffix.lower() not in SHOWN:
        return tag("figure", tag("a", name[-12:], href=address))
    return tag("figure", tag("a", tag("img", src=address, alt="", loading="lazy"), href=address))


def _rates(rates: Facts) -> Html:
    fates = dict.fromkeys(rates["fates"], 0)
    for fate, questions in zip(rates["fates"], rates["counts"], strict=True):
        fates[fate] += questions
    asked = sum(rates["counts"])
    key = legend([(fate, FATES.get(fate, "drops"), f"{questions:,}") for fate, questions in fates.items()])
    kinds = tuple(FATES.get(fate, "drops") for fate in rates["fates"])
    samples = len(rates["counts"]) - 1
    drawn = columns(Columns(tuple(map(str, range(samples + 1))), tuple(rates["counts"]), kinds))
    left = f", and {rates['unfinished']:,} not asked often enough yet" if rates["unfinished"] else ""
    words = f"right answers in {count(samples, 'sample')} {RATES.get(rates['step'], '')}: {count(asked, 'question')}"
    return tag("figure", tag("h3", rates["step"]), drawn, tag("figcaption", words + left), key, class_="panel")


def _lengths(lengths: Facts) -> Html:
    bins = lengths["histogram"]
    labels = tuple(f"{one['start']:,}" if one["end"] is not None else f"{one['start']:,}+" for one in bins)
    drawn = columns(Columns(labels, tuple(one["count"] for one in bins), ("keeps",) * len(bins)))
    points = [("mean", f"{lengths['mean']:,.0f}"), *((name, f"{n:,}") for name, n in lengths["quantiles"].items())]
    quantiles = [tag("div", tag("dt", name), tag("dd", value)) for name, value in points]
    estimated = f"; {lengths['estimated']:,} estimated as characters / 4" if lengths["estimated"] else ""
    words = f"tokens that the model wrote in {_trajectories(lengths['count'])}{estimated}"
    title = "with tools" if lengths["holds"] == "tools" else "reasoning alone"
    return tag(
        "figure", tag("h3", title), drawn, tag("figcaption", words), tag("dl", *quantiles, class_="totals small"),
        class_="panel",
    )  # fmt: skip


def _set(one: Facts) -> Html:
    held = _trajectories(one["rows"]) if one["set"] == "sft" else count(one["rows"], "question")
    facts = []
    if one["questions"] != one["rows"]:
        facts.append(f", of {count(one['questions'], 'question')}")
    if one["reasoning"]:
        facts.append(f", {one['reasoning']:,} of them reasoning alone ({percent(one['reasoning'], one['rows'])})")
    return tag(
        "div",
        tag("h3", f"{SETS.get(one['set'], one['set'])} · {one['part'].replace('_', ' ')}"),
        tag("p", tag("b", held), *facts),
        _shares("by family", one["families"], "moves" if one["set"] == "rl" else "keeps"),
        _shares("by teacher", one["teachers"], "keeps"),
        tag("p", tag("code", one["file"]), class_="dim"),
        class_="panel",
    )


def _shares(title: str, rows: Mapping[str, int], kind: str) -> Html | None:
    """A bar for each value, with its number and share."""
    if not rows:
        return None
    whole = sum(rows.values())
    lines = [
        tag(
            "div",
            tag("span", name, title=name),
            bar([Part(number / max(rows.values()), kind)]),
            tag("span", f"{number:,} · {percent(number, whole)}", class_="number"),
        )
        for name, number in rows.items()
    ]
    return join([tag("h4", title), tag("div", *lines, class_="shares")])


def _teacher(teacher: Facts) -> Html:
    good, tried = teacher["good"], teacher["trajectories"]
    words = f" of {_trajectories(tried)} kept the rules · {percent(good, tried)}"
    policy = tag("p", teacher["policy"], class_="dim") if teacher["policy"] else None
    broken = [
        tag("div", tag("span", rule), bar([Part(n / tried, "drops")]), tag("span", f"{n:,}", class_="number"))
        for rule, n in teacher["failures"].items()
    ]
    rules = join([tag("h4", "rules broken"), tag("div", *broken, class_="shares")]) if broken else None
    tokens = f"{count(teacher['solved'], 'question')} solved · {tally(teacher['tokens'])} tokens written"
    return tag(
        "div", tag("h3", teacher["name"]), policy, tag("p", tag("b", f"{good:,}"), words),
        bar([Part(good / tried, "keeps")] if tried else []), tag("p", tokens, class_="dim"), rules, class_="panel",
    )  # fmt: skip


def _trajectories(number: int) -> str:
    return "1 trajectory" if number == 1 else f"{number:,} trajectories"


def _source(source: Facts) -> Html:
    kept, rows = source["kept"], source["rows"]
    licence = tag(
        "span", source["licence"] or "no licence named", class_=f"badge {'' if source['licence'] else 'wrong'}"
    )
    reasoning = tag("span", "reasoning", class_="chip") if source["holds"] == "reasoning" else None
    chips = [_chip(reason, number, rows) for reason, number in source["rejected"].items()]
    files = [
        tag(
            "li",
            tag("b", file["name"]),
            tag("small", f"{count(file['rows'], 'row')} · {file['size']:,} bytes · ", tag("code", file["sha256"])),
        )
        for file in source["files"]
    ]
    parts = [Part(kept / rows, "keeps"), Part((rows - kept) / rows, "drops")] if rows else []
    return tag(
        "div",
        tag("h3", source["name"]),
        tag("p", licence, reasoning, class_="chips"),
        tag("p", _address(source["url"])) if source["url"] else None,
        tag("p", tag("b", f"{kept:,}"), f" of {count(rows, 'row')} · {percent(kept, rows)}"),
        bar(parts),
        tag("p", *chips, class_="chips") if chips else None,
        tag("details", tag("summary", count(len(files), "file")), tag("ul", *files, class_="files")),
        class_="panel",
    )


def _address(url: str) -> str:
    # Only web addresses become links: what the settings name may be anything, and `javascript:` is an address too.
    return tag("a", url, href=url, rel="noopener noreferrer") if url.startswith(("https://", "http://")) else url
