"""Typed settings of every command: frozen, unknown keys refused, no torch.

Precedence: defaults < TOML file < flags.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from foveal.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SettingsT = TypeVar("SettingsT", bound=Settings)


def read_settings(kind: type[SettingsT], file: Path | None, overrides: Mapping[str, str]) -> SettingsT:
    """Settings from a TOML file and flags, flags last.

    Args:
        kind: The class of the settings.
        file: A TOML file, or None for flags alone.
        overrides: Flags to their values as written: `learning-rate`, or dotted for a table, `limits.max-turns`. A
            value is read as TOML (`0.1`, `true`, `["a", "b"]`), or as plain text if it is none.

    Raises:
        ConfigError: The file cannot be read, keys are unknown, or values are not allowed; all of them at once.
    """
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}", "name a TOML file") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file} is not TOML: {error}") from error
    for flag, text in overrides.items():
        *tables, key = flag.replace("-", "_").split(".")
        table = values
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--{flag}: {name} is a value, not a table")
        table[key] = _flag_value(text)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        wrong = [_describe(issue["loc"], issue["msg"], kind) for issue in error.errors(include_url=False)]
        source = f"{file}" if file is not None else "the settings"
        raise ConfigError(f"{source} and flags: " + "; ".join(wrong)) from None


def _flag_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _describe(where: tuple[int | str, ...], message: str, kind: type[Settings]) -> str:
    key = ".".join(str(part) for part in where)
    if message == "Extra inputs are not permitted":
        return f"there is no setting {key} (there are: {', '.join(_table(kind, where[:-1]).model_fields)})"
    return f"{key}: {message}" if key else message


def _table(kind: type[BaseModel], where: Sequence[int | str]) -> type[BaseModel]:
    """The settings of a table within others.

    Args:
        kind: The outermost.
        where: Keys on the way to it, and places in lists.
    """
    for name in where:
        # What is no field is a place in a list, or a name that the user chose: its settings are those found already.
        if name in kind.model_fields:
            kind = _settings_in(kind.model_fields[str(name)].annotation) or kind
    return kind


def _settings_in(annotation: object) -> type[BaseModel] | None:
    """The first settings that a type names: those of `tuple[X, ...]`, `X | None` or `dict[str, X]` are X."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_settings_in(inner) for inner in get_args(annotation))
    return next((settings for settings in found if settings is not None), None)


def _without_query(address: str) -> str:
    if address.startswith(("http://", "https://")) and re.search("[?#]", address):
        raise ValueError("the address of an endpoint ends before ? and #; keys go into environment variables")
    return address


Address = Annotated[str, AfterValidator(_without_query)]
"""Of an endpoint: paths are put behind it. What names none, as a folder does, stays as it is."""

COLDEST = 1e-4
"""A lower temperature is greedy: logits divided by it could leave the range of numbers."""


class Sampling(Settings):
    """How a policy draws tokens."""

    temperature: Annotated[float, AfterValidator(lambda value: value if value >= COLDEST else 0.0)] = Field(0.0, ge=0)
    """0 is greedy, and so is whatever lies below `COLDEST`."""
    top_p: float = Field(1.0, gt=0, le=1)
    seed: int = Field(0, ge=0)
    """Of one conversation: the same words under the same seed are answered alike."""


class Limits(Settings):
    """Budgets of one trajectory (paper: `run_qwen2_5_vl-7b_final_allin.sh`)."""

    max_turns: int = Field(9, ge=1)
    """Model turns, the answer included."""
    max_turn_tokens: int = Field(8192, ge=1)
    """Tokens that the model may write in one turn."""
    max_context: int = Field(24576, ge=1)
    """Tokens of the whole sequence: prompt, turns and observations, pictures included."""
    wall_seconds: float = Field(900.0, gt=0)
    """Wall time of the whole trajectory."""
    cell_seconds: float = Field(60.0, gt=0)
    """Time limit of one code cell."""
    max_repeated_errors: int = Field(3, ge=1)
    """Same error this many times in a row ends the trajectory."""
    max_image_pixels: int = Field(16384 * 28 * 28, ge=28 * 28)
    """Larger input pictures are scaled down once, for the model and the sandbox alike."""
