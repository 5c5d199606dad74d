"""From settings to live search: provider, manners and, if asked for, record and replay, in one piece."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx

from foveal.errors import ConfigError
from foveal.tools.base import ImageSearch, TextSearch
from foveal.tools.search.cache import Answers
from foveal.tools.search.fetch import Fetcher
from foveal.tools.search.manners import Manners, PoliteImages, PoliteText
from foveal.tools.search.providers.brave import BraveText
from foveal.tools.search.providers.command import CommandImages, CommandText
from foveal.tools.search.providers.exa import ExaText
from foveal.tools.search.providers.http import Access
from foveal.tools.search.providers.lens import NO_UPLOADER, Lens
from foveal.tools.search.providers.searxng import SearxngText
from foveal.tools.search.providers.serpapi import SerpApiImages, SerpApiText
from foveal.tools.search.providers.serper import SerperImages, SerperText
from foveal.tools.search.providers.tavily import TavilyText
from foveal.tools.search.replay import RecordedImages, RecordedText
from foveal.tools.search.settings import KEYS, SearchSettings
from foveal.tools.search.upload import S3Keys, S3Uploader

TEXT: Mapping[str, Callable[[Access], TextSearch]] = {
    "serpapi": SerpApiText,
    "serper": SerperText,
    "brave": BraveText,
    "tavily": TavilyText,
    "exa": ExaText,
    "searxng": SearxngText,
}
IMAGES: Mapping[str, Callable[[Access, Lens], ImageSearch]] = {"serpapi": SerpApiImages, "serper": SerperImages}


class Live(NamedTuple):
    """Live search, ready to be called."""

    text: TextSearch
    images: ImageSearch | None
    no_images: str | None
    """Why there is no image search; None if there is."""
    manners: Manners
    """Counts the requests."""


def open_live(
    settings: SearchSettings,
    environ: Mapping[str, str],
    transport: httpx.AsyncBaseTransport | None = None,
    fetcher: Fetcher | None = None,
) -> Live:
    """The search that the settings name. Nothing is sent before the first call; in mode `replay`, nothing ever is.

    Args:
        settings: All of it but the keys.
        environ: Environment variables: the keys, and SEARXNG_URL.
        transport: Another httpx transport.
        fetcher: Fetches thumbnails.

    Raises:
        ConfigError: A key is missing, or an address is none.
        InputError: The file of recorded answers cannot be used.
    """
    replay = settings.mode == "replay"
    url = settings.url
    if settings.provider == "searxng" and url is None:
        url = environ.get("SEARXNG_URL") or None
    access = Access("" if replay else _key(settings, environ), url, settings.options, settings.timeout, transport)
    uploader = None
    if settings.uploader is not None and not replay:
        uploader = S3Uploader(settings.uploader, _s3_keys(environ), transport)
    lens = Lens(uploader, fetcher)

    text: TextSearch
    images: ImageSearch | None = None
    no_images = None
    if settings.provider == "command":
        text = CommandText(access, settings.command)
        images = CommandImages(access, settings.command, lens)
    else:
        text = TEXT[settings.provider](access)
        if settings.provider not in IMAGES:
            no_images = f"{settings.provider} does not search by picture"
        elif uploader is None and not replay:
            no_images = f"{settings.provider} cannot search by picture: {NO_UPLOADER}"
        else:
            images = IMAGES[settings.provider](access, lens)

    manners = Manners(settings.provider, settings, optional=bool(settings.options))
    text = PoliteText(text, manners)
    images = PoliteImages(images, manners) if images else None
    if settings.cache is not None:
        answers = Answers(settings.cache, read_only=replay)
        text = RecordedText(text, answers, settings)
        images = RecordedImages(images, answers, settings) if images else None
    return Live(text, images, no_images, manners)


def _key(settings: SearchSettings, environ: Mapping[str, str]) -> str:
    name = KEYS.get(settings.provider)
    if name is None:
        return ""
    if not (key := environ.get(name, "").strip()):
        raise ConfigError(f"{settings.provider} wants a key, and {name} is not set", f"export {name}=...")
    return key


def _s3_keys(environ: Mapping[str, str]) -> S3Keys:
    access, secret = (environ.get(name, "").strip() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
    if not access or not secret:
        raise ConfigError(
            "the uploader wants keys, and AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set",
            "export both, or leave uploader out",
        )
    return S3Keys(access, secret, environ.get("AWS_SESSION_TOKEN", "").strip() or None)
