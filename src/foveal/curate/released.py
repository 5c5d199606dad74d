"""The files for reinforcement learning that were released with DeepEyesV2, read as they are.

Parquet files in verl's row schema (`data_source`, `prompt`, `images`, `reward_model`, `extra_info`) are a source of
questions of the format `deepeyes-rl`. The released cold start holds trajectories and no questions for curation: it is
read by `foveal import --from llamafactory`, and recorded image searches by `tools.search.exchange`.
"""

import re
from collections.abc import Mapping
from typing import Any

from foveal.curate.mapping import MARK, Columns, Fields, Reading, read_fields, value_at
from foveal.curate.rejects import Refused

RL_COLUMNS = Columns(
    question="extra_info.question",
    images="images",
    answer="reward_model.ground_truth",
    domain="data_source",
    id="extra_info.index",
)
"""Where the released RL files have what a question needs."""
RL_WANTED = (*RL_COLUMNS.named, "prompt")

FAMILIES = {"reason": "reasoning"}
"""Our names of families where the release has others."""

_SPLITS = {r"perception_all_\d+": "perception", "reason": "reason", "search": "search", "vstar_test": "vstar-test"}
"""What the names of the released files stand for; copies of them lack `data_source`."""


def rl_fields(values: Mapping[str, Any], stem: str) -> Fields:
    """The fields of a row of the released RL files.

    `<image>` marks are counted in the whole prompt, which is what the released code shows; the question itself is
    `extra_info.question`, without the prompt's words on format, or the last user message where that is missing.

    Args:
        values: The row.
        stem: Name of its file, without suffix: tells the data source where the row does not.

    Raises:
        Refused: The row is not as it should be.
    """
    images = values.get("images")
    count = 0 if images is None else len(images) if isinstance(images, list) else 1
    said = [message for message in values.get("prompt") or () if isinstance(message, dict)]
    marks = sum(str(message.get("content")).count(MARK) for message in said)
    if said and marks != count:
        raise Refused("image_marks", f"{marks} {MARK} in the prompt for {count} pictures")
    asked = [message.get("content") for message in said if message.get("role") == "user"]
    question = value_at(values, RL_COLUMNS.question) or (asked[-1] if asked else None)
    extra = values.get("extra_info")
    told = dict(values) | {"extra_info": {**(extra if isinstance(extra, dict) else {}), "question": question}}
    fields = read_fields(told, RL_COLUMNS, Reading())
    domain = fields.domain or next((name for rule, name in _SPLITS.items() if re.fullmatch(rule, stem)), None)
    return fields._replace(domain=domain, family=FAMILIES.get(domain or "", domain))
