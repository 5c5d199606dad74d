"""What may be shown to everybody: a curation folder is made to be published."""

import re

_KEY = re.compile(
    r"""([?&#;](?:[\w.-]*[_.-])?(?:api|access|auth)?(?:key|token|secret|password|pwd|sig|signature|auth|credential)s?=)"""
    r"""[^&#;\s"'\\]+""",
    re.IGNORECASE,
)
"""A part of an address that is named as a key, as vendors and storage with signed addresses have it."""


def published(text: str) -> str:
    """Text without what opens a door: the name and password of an address in it, and keys in its query."""
    from foveal.policy.openai import without_login  # settings that hold no address need no HTTP client

    return _KEY.sub(r"\1…", without_login(text))
