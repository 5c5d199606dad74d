"""The tools of a benchmark run: those of its own policy, or those that the settings turn on; and its bare prompt."""

from typing import NamedTuple

from foveal.bench.benchmark import Benchmark
from foveal.bench.settings import BenchSettings, BenchToolSettings
from foveal.curate.asked import open_profile
from foveal.errors import ConfigError
from foveal.policy.tower import Tower
from foveal.protocol import Profile
from foveal.tools.opening import open_tools
from foveal.tools.sandbox import LocalSandbox
from foveal.tools.session import Tools


class Offered(NamedTuple):
    """The tools that are on, and why."""

    tools: Tools
    sandbox: LocalSandbox | None
    """The code sandbox of `tools`, to be closed at the end."""
    why: str


def open_offered(benchmark: Benchmark, settings: BenchToolSettings, sessions: int) -> Offered:
    """The tools of the settings, or of the benchmark's policy; nothing runs before the first call.

    Args:
        benchmark: What is asked.
        settings: Which are on, and where is searched.
        sessions: Code sessions that may be open at once.

    Raises:
        ConfigError: A search is to be offered and there is nowhere to search, or the other way round.
        InputError: What is to be searched cannot be opened.
    """
    own = benchmark.tools.names
    offered = own if settings.offer is None else settings.offer
    if (settings.search or settings.live) and not {"search", "image_search"} & set(offered):
        raise ConfigError(
            f"{benchmark.title} is asked with {', '.join(offered) or 'no tools'}, and where to search is named",
            """leave it out, or turn search on: --tools.offer '["code", "search"]'""",
        )
    tools, sandbox = open_tools(settings.model_copy(update={"code": "code" in offered}), sessions, Tower)
    for tool in offered:
        if tool not in tools.offered:
            rest = ", ".join(f'"{name}"' for name in offered if name in tools.offered)
            raise ConfigError(
                f"{benchmark.title} is asked with {tool}, and what is searched has none"
                if tools.text or tools.image
                else f"{benchmark.title} is asked with {tool}, and there is nowhere to search",
                "name an index folder (--tools.search DIR) or a provider (--tools.live.provider NAME); "
                f"or turn it off: --tools.offer '[{rest}]'",
            )
    tools = Tools(
        code=tools.code,
        text=tools.text if "search" in offered else None,
        image=tools.image if "image_search" in offered else None,
        k=tools.k,
        visitor=tools.visitor,
        searched=tools.searched,
    )
    as_usual = set(tools.offered) == set(own)
    by_hand = f"chosen by hand; the benchmark itself has {', '.join(own)}"
    return Offered(tools, sandbox, benchmark.tools.why if as_usual else by_hand)


def bare_profile(settings: BenchSettings) -> Profile:
    """The prompt of questions without tools. A system prompt of a file speaks of tools that are not there.

    Raises:
        ConfigError: A file cannot be read, or the profile needs one.
    """
    prompt = settings.no_tools_prompt
    if prompt is None and settings.prompt.system_prompt is None:
        prompt = settings.prompt
    if prompt is None:
        prompt = settings.prompt.model_copy(update={"profile": "foveal", "system_prompt": None})
    return open_profile(prompt)
