"""From settings to tools that can be called."""

from typing import NamedTuple

from foveal.tools.sandbox import LocalSandbox
from foveal.tools.search.folder import Indexes, open_index
from foveal.tools.session import Tools
from foveal.tools.settings import ToolSettings


class OpenedTools(NamedTuple):
    """Tools, and what has to be closed behind them."""

    tools: Tools
    sandbox: LocalSandbox | None
    """The code sandbox of `tools`, to be closed at the end."""


def open_tools(settings: ToolSettings, sessions: int) -> OpenedTools:
    """The tools of the settings; nothing runs before the first call.

    Args:
        settings: What is offered.
        sessions: Code sessions that may be open at once.

    Raises:
        InputError: The index folder cannot be used.
    """
    indexes = Indexes(None, None) if settings.search is None else open_index(settings.search)
    sandbox = None
    if settings.code:
        sandbox = LocalSandbox(max_sessions=sessions, unsafe_allow_unsandboxed=settings.unsafe_allow_unsandboxed)
    return OpenedTools(Tools(code=sandbox, text=indexes.text, image=indexes.images, k=settings.hits), sandbox)
