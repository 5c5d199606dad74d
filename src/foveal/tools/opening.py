"""From settings to tools that can be called."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from foveal.errors import ConfigError
from foveal.tools.base import ImageSearch, TextSearch
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.search.dense import DenseText
from foveal.tools.search.embedding import Embedder
from foveal.tools.search.folder import open_index
from foveal.tools.search.live import open_live
from foveal.tools.search.pictures import EmbeddedImages, PictureEmbedder
from foveal.tools.search.visit import open_visitor
from foveal.tools.searched import describe_searched
from foveal.tools.session import Tools
from foveal.tools.settings import ToolSettings


class OpenedTools(NamedTuple):
    """Tools, and what has to be closed behind them."""

    tools: Tools
    sandbox: LocalSandbox | None
    """The code sandbox of `tools`, to be closed at the end."""


def open_tools(
    settings: ToolSettings, sessions: int, open_tower: Callable[[Path], PictureEmbedder] | None = None
) -> OpenedTools:
    """The tools of the settings, and a fingerprint of what they search; nothing runs before the first call.

    Args:
        settings: What is offered.
        sessions: Code sessions that may be open at once.
        open_tower: Opens a vision tower (`policy.tower.Tower`), if settings may name one.

    Raises:
        InputError: The index folder, the embedding model or the file of recorded answers cannot be used.
        SearchError: The index is damaged.
        PolicyError: The checkpoint of `tower` cannot be used.
        ConfigError: The key of the live provider is not in the environment; or `tower` is set and cannot be opened.
        MissingDependency: Pages are to be read and trafilatura is not installed, or `dense` and tokenizers is not, or
            `tower` and torch is not.
    """
    text: TextSearch | None = None
    image: ImageSearch | None = None
    k = settings.hits
    if settings.search is not None:
        text, image = open_index(settings.search)
        if settings.dense is not None:
            text = DenseText(settings.search, Embedder(settings.dense))
        if settings.tower is not None:
            if open_tower is None:
                raise ConfigError(
                    "no vision tower can be opened here", "leave out tower, or call with open_tower=Tower"
                )
            image = EmbeddedImages(settings.search, open_tower(settings.tower))
    elif settings.live is not None:
        live = open_live(settings.live, os.environ)
        text, image, k = live.text, live.images, settings.live.k
    sandbox = None
    if settings.code:
        sandbox = LocalSandbox(max_sessions=sessions, unsafe_allow_unsandboxed=settings.unsafe_allow_unsandboxed)
    visitor = None if settings.visit is None else open_visitor(settings.visit)
    searched = describe_searched(settings)
    return OpenedTools(Tools(code=sandbox, text=text, image=image, k=k, visitor=visitor, searched=searched), sandbox)
