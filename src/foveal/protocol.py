"""The text protocol: prompt profiles, parsing of a model turn, rendering of an observation.

A model turn is `<think>...</think>` and then one action:

    <code>                               <tool_call>{"name": ..., "arguments": {...}}</tool_call>
    ```python                            <answer>...</answer>
    ...
    ```
    </code>

Which action counts when a turn holds several:

- `foveal`: the first one after the thinking. If that one is broken, the turn is malformed: a later answer, written
  without having seen the result, is not taken.
- `deepeyes-v2`: as the official RL environment: an answer anywhere in the turn ends the episode (the last one counts);
  else the last `<code>` block and its last fence; else the last `<tool_call>`.

Parsing never raises and takes linear time. Text that came from a tool is data: nothing here parses an observation.
Not covered: the official RL environment starts each later turn with a pre-filled `<think>`; here the model writes it.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from foveal import prompts
from foveal.errors import ConfigError
from foveal.parse import Answer, Call, Code, Malformed, ParsedTurn, parse_deepeyes, parse_foveal
from foveal.trajectory import CellResult, ImagePart, ImageRef, Message, Observation, Part, SearchHit, TextPart

__all__ = [
    "DEEPEYES_V2",
    "FOVEAL",
    "PROFILES",
    "Answer",
    "Call",
    "Code",
    "Malformed",
    "ParsedTurn",
    "Profile",
    "load_profile",
    "opening",
    "parse_turn",
    "render_observation",
]

ProfileName = Literal["foveal", "deepeyes-v2"]


@dataclass(frozen=True)
class Profile:
    """How the model is prompted, where it stops, and how observations look to it."""

    name: ProfileName
    stop: tuple[str, ...]
    """Generation stops after the first of these strings; it is kept in the text."""
    system_prompt: str | None = None
    """None: composed from the offered tools (`foveal`), or missing (`deepeyes-v2`). Empty: no system message."""
    user_suffix: str = ""
    """Text after the question."""
    thumbnails: bool = True
    """Show the pictures of image search hits."""

    def with_prompt(self, text: str, suffix: str = "") -> "Profile":
        """The same protocol under another system prompt and user suffix."""
        return replace(self, system_prompt=text, user_suffix=suffix)

    def prompt(self, offered: Collection[str]) -> str:
        """The system prompt when the tools `offered` can be called.

        Raises:
            ConfigError: The profile has no prompt of its own and none was loaded.
        """
        if self.system_prompt is not None:
            return self.system_prompt
        if self.name == "foveal":
            return prompts.compose(offered)
        raise ConfigError(
            f"profile {self.name} has no system prompt: the official text belongs to its authors",
            "save the prompt of the official release to a file and name it: --system-prompt FILE",
        )

    def prompt_hash(self, offered: Collection[str]) -> str:
        """SHA-256 of system prompt and user suffix, for the record of a run."""
        return hashlib.sha256(f"{self.prompt(offered)}\0{self.user_suffix}".encode()).hexdigest()


FOVEAL = Profile("foveal", stop=("</code>", "</tool_call>", "</answer>"))
DEEPEYES_V2 = Profile("deepeyes-v2", stop=("</code>", "</tool_call>"))
PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (FOVEAL, DEEPEYES_V2)}


def load_profile(name: str, system_prompt_file: Path | None = None, user_suffix_file: Path | None = None) -> Profile:
    """A profile by name, with its texts taken from files if they are given.

    Raises:
        ConfigError: Unknown name, unreadable file, or `deepeyes-v2` without a system prompt.
    """
    if name not in PROFILES:
        raise ConfigError(f"there is no profile {name!r}", f"use one of: {', '.join(PROFILES)}")
    profile = PROFILES[name]
    if system_prompt_file is not None:
        profile = replace(profile, system_prompt=_read_prompt(system_prompt_file))
    if user_suffix_file is not None:
        profile = replace(profile, user_suffix=_read_prompt(user_suffix_file))
    profile.prompt(())  # a missing prompt is reported now, not at the first question
    return profile


def _read_prompt(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"prompt file {path} cannot be read: {error}", "name a UTF-8 text file") from error


def opening(profile: Profile, text: str, images: Sequence[ImageRef], offered: Collection[str]) -> tuple[Message, ...]:
    """The first messages: system prompt (unless empty), then all pictures and the question.

    Several pictures are labelled `image_1`, `image_2`, ... in the `foveal` profile, so that the model can name them.
    """
    parts: list[Part] = []
    for number, ref in enumerate(images, start=1):
        if profile.name == "foveal" and len(images) > 1:
            parts.append(TextPart(text=f"image_{number}: "))
        parts.append(ImagePart(image=ref))
    parts.append(TextPart(text=text + profile.user_suffix))
    user = Message(role="user", parts=tuple(parts))
    system = profile.prompt(offered)
    return (Message(role="system", parts=(TextPart(text=system),)), user) if system else (user,)


def parse_turn(text: str, profile: Profile = FOVEAL) -> ParsedTurn:
    """Take a model turn apart. Never raises; linear time; see the module docstring for which action counts."""
    return parse_deepeyes(text) if profile.name == "deepeyes-v2" else parse_foveal(text)


_NOTHING_PRINTED = "The code ran and printed nothing: print a value or show an image."


def render_observation(profile: Profile, observation: Observation) -> tuple[Part, ...]:
    """An observation as the parts of the user message that the model sees.

    `deepeyes-v2` is byte for byte what the released checkpoints were trained with; the value of the last expression
    is never shown there.
    """
    if observation.error is not None:
        return (TextPart(text=f"Error: {observation.error.message}"),)
    if observation.cell is not None:
        return _render_cell(profile, observation.cell)
    if observation.tool == "visit":
        return _render_page(observation)
    return tuple(_render_hits(profile, observation, observation.hits or ()))


def _render_cell(profile: Profile, cell: CellResult) -> tuple[Part, ...]:
    pictures = tuple(ImagePart(image=ref) for ref in cell.images)
    if profile.name == "deepeyes-v2":
        sections = [f"stdout:\n```\n{cell.stdout}\n```", f"stderr:\n```\n{cell.stderr}\n```"]
        text = "Code execution result:\n" + "\n\n".join(sections)
    else:
        named = {"stdout": cell.stdout, "stderr": cell.stderr, "result": cell.result or ""}
        shown = [f"{name}:\n```\n{body.rstrip()}\n```" for name, body in named.items() if body.strip()]
        if not shown and not pictures:
            shown = [_NOTHING_PRINTED]
        text = "\n".join(["Code execution result:", *shown])
    if not pictures:
        return (TextPart(text=text),)
    gap = "\n\n" if profile.name == "deepeyes-v2" else "\n"
    return (TextPart(text=f"{text}{gap}Images:\n"), *pictures)


def _render_hits(profile: Profile, observation: Observation, hits: Sequence[SearchHit]) -> Iterator[Part]:
    engine = "Google " if profile.name == "deepeyes-v2" else ""
    found = f"found {len(hits)} results:\n\n## Web Results\n"
    if observation.tool == "image_search":
        article = "A" if engine else "An"
        text = f"<tool_response>\n{article} {engine}image search for the image {found}"
    else:
        text = f"<tool_response>\nA {engine}search for '{observation.query}' {found}"
    for number, hit in enumerate(hits, start=1):
        text += f"{number}. " if number == 1 else f"\n\n{number}. "
        if observation.tool != "image_search":
            text += _text_hit(hit)
            continue
        if hit.thumbnail is not None and profile.thumbnails:
            yield TextPart(text=text)
            yield ImagePart(image=hit.thumbnail)
            text = "\n"
        text += f"[{_without_player(hit.title)}] \n"
    if not hits and profile.name == "foveal":
        text += "None: try other words.\n" if observation.tool == "search" else "None: try a text search.\n"
        yield TextPart(text=f"{text}</tool_response>")
    else:
        yield TextPart(text=f"{text}\n</tool_response>")


def _render_page(observation: Observation) -> tuple[Part, ...]:
    [page] = observation.hits or ()
    return (
        TextPart(text=f"<tool_response>\nThe page at '{observation.query}':\n\n{_text_hit(page)}\n</tool_response>"),
    )


def _text_hit(hit: SearchHit) -> str:
    date = f"\nDate published: {hit.date}" if hit.date is not None else ""
    snippet = f"\n{hit.snippet}" if hit.snippet is not None else ""
    return _without_player(f"[{hit.title}]({hit.link or ''}){date}\n{snippet}")


def _without_player(text: str) -> str:
    return text.replace("Your browser can't play this video.", "")
