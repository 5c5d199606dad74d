"""The dataset card in words: README.md, with the header that the Hugging Face hub reads."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from foveal.curate.cardrecords import Card, CardSet, CardSource, CardStage

MARK = "<!-- Written by foveal curate card, anew each time: what is changed here is lost. -->"
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
LICENCES = frozenset(
    {
        "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5",
        "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0",
        "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0",
        "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "c-uda", "odc-by", "odbl", "pddl", "gpl",
        "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "mpl-2.0", "openrail", "etalab-2.0",
        "unlicense", "wtfpl", "gfdl", "unknown", "other"
    }
)  # fmt: skip
"""Identifiers of the hub that data are found under; everything else is `other` there."""
SETS = {"sft": "cold start", "rl": "reinforcement learning"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~$#])")
_WEB = re.compile(r"https?://[^\s<>|]+")


class Markdown(str):
    """A cell that is written already."""


def readme(card: Card) -> str:
    """The whole file."""
    settings = json.dumps(card.settings, indent=2, ensure_ascii=False)
    sections = (
        _introduction(card),
        *_section("Sets", _sets(card)),
        *_section("From raw rows to the sets", _stages(card.stages)),
        *_section("How often the student was right", _rates(card)),
        *_section("Teachers", _teachers(card)),
        *_section("Lengths of the cold start", _lengths(card)),
        *_section("Provenance and licences", _sources(card.sources)),
        *_section("Examples of what was dropped", _examples(card.stages)),
        *_section("Settings", [_folded("all of them", f"```json\n{settings}\n```")]),
    )
    return "\n\n".join((_header(card), *sections)) + "\n"


def _section(title: str, parts: Iterable[str]) -> Iterator[str]:
    """A section, unless there is nothing in it."""
    found = [part for part in parts if part]
    if found:
        yield "\n\n".join((f"## {title}", *found))


def _header(card: Card) -> str:
    licences = sorted({hub_licence(source.licence) for source in card.sources if source.kept})
    lines = ["---", f"pretty_name: {_yaml(card.name)}"]
    if licences:
        lines += ["license:", *(f"- {licence}" for licence in licences)]
    if named := sorted({str(one.licence) for one in card.sources if one.kept and hub_licence(one.licence) == "other"}):
        lines.append(f"license_name: {_yaml(', '.join(named))}")
    lines += ["task_categories:", "- visual-question-answering", "- image-text-to-text"]
    lines += ["tags:", "- agent", "- tool-use", "- foveal"]
    if rows := sum(one.rows for one in card.sets):
        lines += [
            "size_categories:",
            f"- {next((name for most, name in SIZES if rows < most), '1M<n<10M')}",
            "configs:",
        ]
    for name in SETS:
        parts = [one for one in card.sets if one.set == name]
        lines += [f"- config_name: {name}", "  data_files:"] if parts else []
        for one in parts:
            lines += [f"  - split: {one.part}", f"    path: {one.file}"]
    return "\n".join((*lines, "---", MARK))


def hub_licence(licence: str | None) -> str:
    """The hub's identifier of a licence: `CC BY 4.0` is `cc-by-4.0`; `other` if it has none, `unknown` for None."""
    if licence is None or not licence.strip():
        return "unknown"
    name = re.sub(r"[\s_-]+", "-", licence.strip().lower())
    return name if name in LICENCES else "other"


def _introduction(card: Card) -> str:
    words = [f"# {_cell(card.name)}"]
    words.append(
        f"Questions about pictures and trajectories that answer them with tools, curated with foveal {card.foveal}: "
        f"{card.questions:,} questions, of which the sets below were made. [page.html](page.html) shows the same "
        "with examples, [card.json](card.json) holds it as data."
    )
    words.append(
        "`sft` holds run folders for `foveal sft`: one trajectory a line, pictures by hash in `images/`. `rl` holds "
        "question sets for `foveal rl`: one question a line, its pictures in `pictures/`."
    )
    return "\n\n".join(words)


def _sets(card: Card) -> Iterator[str]:
    heads = ("set", "part", "rows", "questions", "reasoning alone", "by family", "by teacher")
    yield _table(heads, [_set_row(one) for one in card.sets])


def _set_row(one: CardSet) -> tuple[str, ...]:
    return (
        f"{one.set}: {SETS[one.set]}",
        one.part,
        f"{one.rows:,}",
        f"{one.questions:,}",
        f"{one.reasoning:,}",
        _counts(one.families),
        _counts(one.teachers),
    )


def _stages(stages: Sequence[CardStage]) -> Iterator[str]:
    rows = [
        (one.step, f"{one.rows_in:,}", f"{one.rows_out:,}", _share(one.rows_out, one.rows_in), f"{one.waiting:,}",
         _counts(one.dropped))
        for one in stages
    ]  # fmt: skip
    yield _table(("step", "rows in", "rows out", "share", "waiting", "not let through, by reason"), rows)
    if any(one.step == "benefit" for one in stages):
        yield "What `benefit` calls solved is not lost: it goes on to reinforcement learning."


def _rates(card: Card) -> Iterator[str]:
    for rates in card.rates:
        samples = len(rates.counts) - 1
        heads = (f"{rates.step}: right of {samples}", *(str(number) for number in range(samples + 1)))
        counts = ("questions", *(f"{count:,}" for count in rates.counts))
        yield _table(heads, [counts, ("which are", *rates.fates)])
        if rates.unfinished:
            yield f"{rates.unfinished:,} questions were not asked often enough yet."


def _teachers(card: Card) -> Iterator[str]:
    heads = ("teacher", "model", "trajectories", "good", "questions solved", "tokens written", "rules broken")
    rows = [
        (one.name, one.policy or "-", f"{one.trajectories:,}", f"{one.good:,} ({_share(one.good, one.trajectories)})",
         f"{one.solved:,}", f"{one.tokens:,}", _counts(one.failures))
        for one in card.teachers
    ]  # fmt: skip
    yield _table(heads, rows)
    spent = [(one.step, f"{one.calls:,}", f"{one.tokens:,}", f"{one.money:,.2f}") for one in card.spent]
    yield _table(("endpoints of", "calls", "tokens", "money"), spent)


def _lengths(card: Card) -> Iterator[str]:
    for one in card.lengths:
        what = "with tools" if one.holds == "tools" else "reasoning alone"
        heads = ("tokens the model wrote", "trajectories", "mean", *one.quantiles)
        row = (what, f"{one.count:,}", f"{one.mean:,.0f}", *(f"{value:,}" for value in one.quantiles.values()))
        yield _table(heads, [row])
        if one.estimated:
            yield f"Of {one.estimated:,} nobody counted the tokens: characters / 4."


def _sources(sources: Sequence[CardSource]) -> Iterator[str]:
    heads = ("source", "holds", "licence", "address", "rows", "kept", "set aside, by reason")
    unnamed = Markdown("**none named**")
    rows = [
        (one.name, one.holds, one.licence or unnamed, _address(one.url), f"{one.rows:,}", f"{one.kept:,}",
         _counts(one.rejected))
        for one in sources
    ]  # fmt: skip
    yield _table(heads, rows)
    files = [
        (one.name, file.name, f"{file.rows:,}", f"{file.size:,}", file.sha256) for one in sources for file in one.files
    ]
    if files:
        yield _folded(f"raw files: {len(files)}", _table(("source", "file", "rows", "bytes", "sha256"), files))


def _examples(stages: Sequence[CardStage]) -> Iterator[str]:
    """One for each reason."""
    rows = []
    for stage in stages:
        first = {one.reason: one for one in reversed(stage.examples) if one.reason is not None}
        rows += [(stage.step, reason, one.text, ", ".join(one.gold)) for reason, one in sorted(first.items())]
    yield _table(("step", "reason", "question", "answer"), rows)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; nothing without rows."""
    if not rows:
        return ""
    lines = [heads, [Markdown("---")] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text in one line that shows as it was written, whatever marks it holds; `Markdown` stays as it is."""
    if isinstance(text, Markdown):
        return text
    return _SPECIAL.sub(r"\\\1", escape(" ".join(text.split()), quote=False)) or " "


def _address(url: str | None) -> str:
    return Markdown(f"<{url}>") if url is not None and _WEB.fullmatch(url) else url or "-"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "-"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"


def _yaml(text: str) -> str:
    """A string in quotes, without what YAML cannot hold."""
    return json.dumps("".join(letter if letter.isprintable() else " " for letter in text), ensure_ascii=False)
