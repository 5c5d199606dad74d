import json
import subprocess
import sys
from pathlib import Path

import pytest

import foveal.bench.benchmarks
from foveal.bench.catalogue import BENCHMARKS, describe, find, tables
from foveal.config import Limits
from foveal.errors import ConfigError

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def test_every_file_is_listed():
    files = {path.stem for path in Path(foveal.bench.benchmarks.__path__[0]).glob("*.py")} - {"__init__"}
    assert {name.replace("-", "_") for name in BENCHMARKS} == files


def test_the_description_is_json_and_has_what_the_command_needs():
    told = json.loads(json.dumps(describe()))
    assert list(told) == list(BENCHMARKS)
    assert {"title", "data", "scorer", "judge", "tools", "tools_why", "licence", "items", "paper", "sources"} <= set(
        told["realx"]
    )
    assert told["realx"]["items"] == 194 and told["realx"]["tools"] == ["code", "search", "image_search"]
    assert told["vstar"]["tools"] == ["code"] and told["ocrbench"]["scale"] == 1000


def test_the_page_is_that_of_the_records():
    assert tables() in DOCS.read_text(encoding="utf-8"), "put foveal.bench.catalogue.tables() into docs/benchmarks.md"


def test_pictures_are_as_large_as_the_agent_takes_them():
    assert {one.max_pixels for one in BENCHMARKS.values()} == {Limits().max_image_pixels}


def test_an_unknown_name():
    assert find("vstar") is BENCHMARKS["vstar"]
    with pytest.raises(ConfigError, match="there is no benchmark 'v-star'") as error:
        find("v-star")
    assert "vstar" in str(error.value.fix)


def test_listing_loads_nothing_heavy():
    heavy = {"scipy", "numpy", "pyarrow", "datasets", "pandas", "torch", "sympy"}
    program = (
        f"import sys; from foveal.bench.catalogue import describe; describe(); assert not {heavy} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
