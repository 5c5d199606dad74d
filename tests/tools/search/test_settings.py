"""Settings of live search that cannot be meant."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from foveal.config import read_settings
from foveal.errors import ConfigError
from foveal.tools.search.settings import KEYS, S3Settings, SearchSettings


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"mode": "replay"}, "needs a cache file"),
        ({"cache": "a.sqlite"}, "not used in mode live"),
        ({"provider": "command"}, "needs command"),
        ({"command": '["x"]'}, "no other provider takes it"),
        ({"max-cost": "1.0"}, "cost_per_call"),
        ({"options.api_key": "x"}, "environment only"),
        ({"provider": "google"}, "provider"),
        ({"timeout": "0"}, "timeout"),
        ({"uploader.bucket": "Not/a/bucket"}, "uploader.bucket"),
        ({"api_key": "x"}, "there is no setting api_key"),
    ],
)
def test_settings_that_do_not_fit(flags, said):
    with pytest.raises(ConfigError, match=said):
        read_settings(SearchSettings, None, flags)


def test_a_file_of_settings(tmp_path):
    (tmp_path / "search.toml").write_text(
        'provider = "command"\ncommand = ["./mine", "--fast"]\nmode = "replay_or_record"\ncache = "answers.sqlite"\n'
        'rate = 2\n[options]\nhl = "de"\n[uploader]\nbucket = "pictures"\n'
    )
    settings = read_settings(SearchSettings, tmp_path / "search.toml", {"k": "3"})
    assert (settings.command, settings.k, settings.options) == (("./mine", "--fast"), 3, {"hl": "de"})
    assert settings.uploader is not None and settings.uploader.region == "us-east-1"


def test_the_documented_settings_are_the_defaults(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "search.md").read_text(encoding="utf-8")
    block = text.split("```toml\n")[1].split("```")[0]
    (tmp_path / "search.toml").write_text(block)
    assert read_settings(SearchSettings, tmp_path / "search.toml", {}) == SearchSettings()
    # The lines that are out of use are settings, too.
    named = set(re.findall(r"^(?:# )?(\w+) = ", block, re.MULTILINE)) - {"hl", "gl"}
    assert named == (set(SearchSettings.model_fields) | set(S3Settings.model_fields)) - {"options", "uploader"}


def test_every_provider_with_a_key_names_its_variable():
    assert set(KEYS) == {"serpapi", "serper", "brave", "tavily", "exa"}
    assert all(name.endswith("_API_KEY") for name in KEYS.values())


def test_settings_load_nothing_heavy():
    heavy = {"httpx", "PIL", "numpy", "sqlite3"}
    program = f"import sys, foveal.tools.search.settings; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
