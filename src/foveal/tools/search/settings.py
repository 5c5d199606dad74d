"""Settings of live search: which provider, how politely it is asked, whether answers are kept, where pictures go.

Keys are never settings: they come from the environment (`KEYS`), so that no file, record or log can hold one.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from foveal.config import Settings

Provider = Literal["serpapi", "serper", "brave", "tavily", "exa", "searxng", "command"]
Mode = Literal["live", "record", "replay", "replay_or_record"]

KEYS: Mapping[Provider, str] = {
    "serpapi": "SERPAPI_API_KEY",
    "serper": "SERPER_API_KEY",
    "brave": "BRAVE_API_KEY",
    "tavily": "TAVILY_API_KEY",
    "exa": "EXA_API_KEY",
}
"""Environment variable that holds the key of each provider that wants one."""

_SECRET = re.compile(r"key|token|secret|password|auth", re.IGNORECASE)


class S3Settings(Settings):
    """A bucket of S3-compatible storage that pictures are put into, so that a search host can fetch them.

    Its keys come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN.
    """

    bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
    endpoint: str = "https://s3.amazonaws.com"
    """Address of the storage, without the bucket; pictures are put under <endpoint>/<bucket>/<prefix>."""
    region: str = "us-east-1"
    """As the storage names it; `auto` for Cloudflare R2."""
    prefix: str = "foveal/"
    """Start of the names of all pictures."""
    expires: int = Field(3600, ge=60, le=604800)
    """Seconds that an address can be read."""


class Limits(Settings):
    """How often, how much and how patiently one server is asked. They count for one run of the program."""

    concurrency: int = Field(8, ge=1)
    """Requests at a time."""
    rate: float | None = Field(None, gt=0)
    """Requests a second; None is no limit."""
    max_retries: int = Field(3, ge=0)
    """Further tries after a failure that may pass."""
    failures_in_a_row: int = Field(5, ge=1)
    """After so many requests in a row that failed, the server counts as down."""
    rest: float = Field(30.0, gt=0)
    """Seconds that a server that is down is left alone, before one request may try it."""
    max_calls: int | None = Field(None, ge=0)
    """Requests in all, failed ones too; None is no limit."""
    cost_per_call: float = Field(0.0, ge=0)
    """Price of one request, in any currency."""
    max_cost: float | None = Field(None, ge=0)
    """What all requests together may cost; None is no limit."""

    @model_validator(mode="after")
    def _ceiling(self) -> Self:
        if self.max_cost is not None and self.cost_per_call == 0:
            raise ValueError("max_cost means nothing without cost_per_call")
        return self


class VisitSettings(Settings):
    """How pages of the web are read."""

    max_chars: int = Field(8000, ge=200)
    """Characters of a page that are shown."""
    timeout: float = Field(20.0, gt=0)
    """Seconds for one page, redirects included."""
    per_host: Limits = Limits(concurrency=4)
    """What each host is asked within; a page that failed is not tried again."""
    mode: Mode = "live"
    """As of live search: `replay` never asks, `replay_or_record` asks for what is not kept yet."""
    cache: Path | None = None
    """SQLite file that keeps the pages; may be that of live search."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        _check_cache(self.mode, self.cache)
        return self


class SearchSettings(Limits):
    """A live search provider and the limits it is asked within."""

    provider: Provider = "serper"
    url: str | None = None
    """Another address of the provider: of your SearXNG (or SEARXNG_URL), or of a proxy in front of a vendor."""
    command: tuple[str, ...] = ()
    """Program and arguments of the provider `command`."""
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further parameters of every request, as the provider documents them: `hl`, `gl`, `country`, `search_depth`."""
    k: int = Field(5, ge=1, le=20)
    """Hits of one search."""
    timeout: float = Field(20.0, gt=0)
    """Seconds for one request."""
    mode: Mode = "live"
    """`record` asks and keeps; `replay` never asks; `replay_or_record` asks for what is not kept yet."""
    cache: Path | None = None
    """SQLite file that keeps the answers; needed by every mode but `live`."""
    uploader: S3Settings | None = None
    """Where pictures become public for a while; image search by SerpApi and Serper needs one."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        _check_cache(self.mode, self.cache)
        if (self.provider == "command") != bool(self.command):
            raise ValueError("the provider command needs command, and no other provider takes it")
        if secret := next((name for name in self.options if _SECRET.search(name)), None):
            raise ValueError(f"options.{secret} looks like a key: keys come from the environment only")
        return self


def _check_cache(mode: Mode, cache: Path | None) -> None:
    if mode != "live" and cache is None:
        raise ValueError(f"mode {mode} needs a cache file: set cache")
    if mode == "live" and cache is not None:
        raise ValueError("a cache file is not used in mode live: set mode to replay_or_record, record or replay")
