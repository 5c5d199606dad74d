"""The files for reinforcement learning that were released with DeepEyesV2, read as they are.

Parquet files in verl's row schema (`data_source`, `prompt`, `images`, `reward_model`, `extra_info`) are a source of
questions of the format `deepeyes-rl`; `foveal import --from verl` reads them in the same way. The released cold start
holds trajectories and no questions for curation: it is read by `foveal import --from llamafactory`, and recorded image
searches by `tools.search.exchange`.
"""

import re
from collections.abc import Mapping
from typing import Any

from foveal.curate.mapping import MARK, Columns, Fields, Reading, read_fields, read_texts, value_at
from foveal.curate.rejects import Refused

ANSWER = "reward_model.ground_truth"
RL_COLUMNS = Columns(
    question="extra_info.question",
    images="images",
    answer=ANSWER,
    domain="data_source",
    id="extra_info.index",
)
"""Where the released RL files have what a question needs."""
RL_WANTED = (*RL_COLUMNS.named, "prompt")

FAMILIES = {"reason": "reasoning"}
"""Our names of families where the release has others."""

_SPLITS = {r"perception_all_\d+": "perception", "reason": "reason", "search": "search", "vstar_test": "vstar-test"}
"""What the names of the released files stand for; copies of them lack `data_source`."""


def rl_fields(values: Mapping[str, Any], stem: str, answered: bool = True) -> Fields:
    """The fields of a row of the released RL files, or of others in verl's schema.

    The question is `extra_info.question`, without the prompt's words on format, or the last user message where that is
    missing; the answer is `reward_model.ground_truth`, or `extra_info.answer` where that is missing.

    Args:
        values: The row.
        stem: Name of its file, without suffix: tells the data source where the row does not.
        answered: Whether a row without an answer is refused.

    Raises:
        Refused: The row is not as it should be.
    """
    pictures = check_marks(values)
    asked = [message.get("content") for message in _messages(values) if message.get("role") == "user"]
    question = value_at(values, RL_COLUMNS.question) or (asked[-1] if asked else None)
    if asked and isinstance(question, str) and question.count(MARK) != pictures:
        question = _inner(question)  # it is the prompt that shows the pictures, and that was counted
    answer = value_at(values, ANSWER)
    answer = value_at(values, "extra_info.answer") if answer is None else answer
    extra = values.get("extra_info")
    told = dict(values) | {
        "extra_info": {**(extra if isinstance(extra, dict) else {}), "question": question},
        "reward_model": {"ground_truth": answer},
    }
    known = answered or read_texts(answer, ANSWER)
    fields = read_fields(told, RL_COLUMNS if known else RL_COLUMNS.model_copy(update={"answer": None}), Reading())
    domain = fields.domain or next((name for rule, name in _SPLITS.items() if re.fullmatch(rule, stem)), None)
    return fields._replace(domain=domain, family=FAMILIES.get(domain or "", domain))


def check_marks(values: Mapping[str, Any]) -> int:
    """Count `<image>` in the whole prompt, which is what the released code shows.

    Returns:
        The number of pictures.

    Raises:
        Refused: There are not as many as pictures.
    """
    images = values.get("images")
    count = 0 if images is None else len(images) if isinstance(images, list) else 1
    said = _messages(values)
    if said and (marks := sum(str(message.get("content")).count(MARK) for message in said)) != count:
        raise Refused("image_marks", f"{marks} {MARK} in the prompt for {count} pictures")
    return count


def _inner(text: str) -> str:
    """The text without the marks before and behind it; one within stands for a word."""
    parts = text.split(MARK)
    while parts and not parts[0].strip():
        del parts[0]
    while parts and not parts[-1].strip():
        del parts[-1]
    return MARK.join(parts)


def _messages(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [message for message in values.get("prompt") or () if isinstance(message, dict)]
