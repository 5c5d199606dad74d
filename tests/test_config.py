from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from foveal.config import Limits, Sampling, Settings, read_settings
from foveal.errors import ConfigError


class _Nested(Settings):
    name: str = "x"
    limits: Limits = Limits()
    sampling: Sampling = Sampling()
    tags: tuple[str, ...] = ()


def test_flags_beat_the_file_and_the_file_beats_defaults(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('name = "from file"\n[limits]\nmax_turns = 4\ncell_seconds = 3.5\n')
    flags = {"limits.max-turns": "5", "sampling.temperature": "0.7", "tags": '["a", "b"]'}
    read = read_settings(_Nested, file, flags)
    assert (read.name, read.limits.max_turns, read.limits.cell_seconds) == ("from file", 5, 3.5)
    assert (read.sampling.temperature, read.sampling.top_p, read.tags) == (0.7, 1.0, ("a", "b"))


def test_plain_words_need_no_quotes():
    assert read_settings(_Nested, None, {"name": "runs/one"}).name == "runs/one"


def test_every_wrong_key_and_value_is_told_at_once(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text("[limits]\nmax_turn = 4\nmax_context = 0\n")
    with pytest.raises(ConfigError) as error:
        read_settings(_Nested, file, {"nam": "y"})
    for word in ("a.toml", "limits.max_turn", "limits.max_context", "nam "):
        assert word in str(error.value)


class _Deep(Settings):
    one: _Nested | None = None
    many: tuple[_Nested, ...] = ()
    named: dict[str, Annotated[Limits, "of each"]] = Field(default_factory=dict)
    text: str = "x"


@pytest.mark.parametrize(
    ("values", "said", "beside"),
    [
        ({"tex": "y"}, "there is no setting tex (", "one, many, named, text)"),
        ({"one": {"nam": "y"}}, "there is no setting one.nam (", "name, limits, sampling, tags)"),
        ({"many": [{}, {"limits": {"max_turn": 1}}]}, "setting many.1.limits.max_turn (", "max_turns, max_turn_tokens"),
        ({"named": {"limits": {"seconds": 1}}}, "setting named.limits.seconds (", "max_turns, max_turn_tokens"),
    ],
)
def test_a_key_that_is_not_there_is_told_with_those_beside_it(tmp_path, values, said, beside):
    with pytest.raises(ConfigError) as error:
        read_settings(_Deep, None, {name: _toml(value) for name, value in values.items()})
    there = str(error.value).partition(said)[2].removeprefix("there are: ")
    assert there.startswith(beside), str(error.value)


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else repr(value)


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe"])
def test_files_that_are_not_toml_are_refused(tmp_path, content):
    file = tmp_path / "a.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="not TOML"):
        read_settings(_Nested, file, {})


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(_Nested, tmp_path / "none.toml", {})


def test_a_dotted_flag_under_a_plain_value_is_refused():
    with pytest.raises(ConfigError, match="not a table"):
        read_settings(_Nested, None, {"name": "a", "name.first": "b"})


def test_what_is_colder_than_any_number_can_say_is_greedy():
    assert [Sampling(temperature=value).temperature for value in (0, 1e-45, 1e-6, 1e-4, 0.7)] == [0, 0, 0, 1e-4, 0.7]
    with pytest.raises(ValidationError):
        Sampling(temperature=-1e-9)


def test_a_seed_below_0_is_refused():
    with pytest.raises(ValidationError, match="seed"):
        Sampling(seed=-1)
