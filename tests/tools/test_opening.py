import asyncio
import json
import sys

import pytest
from pydantic import ValidationError

from foveal.tools.opening import open_tools
from foveal.tools.search.text import Document, TextIndex
from foveal.tools.searched import index_fingerprint
from foveal.tools.settings import ToolSettings

PROGRAM = "import json, sys; json.load(sys.stdin); print(json.dumps({'hits': [{'title': 'Paris'}]}))"


def test_nothing_is_offered_but_what_is_named():
    opened = open_tools(ToolSettings(code=False), 3)
    assert opened.tools.offered == () and opened.sandbox is None
    opened = open_tools(ToolSettings(hits=7), 3)
    assert opened.tools.offered == ("code",) and opened.sandbox is not None and opened.tools.k == 7


def test_what_is_searched_is_on_record(tmp_path):
    TextIndex.create(tmp_path).add([Document("Zebra", "It has stripes.")])
    opened = open_tools(ToolSettings(code=False, search=tmp_path), 3)
    assert opened.tools.describe()["index"] == index_fingerprint(tmp_path)


def test_a_live_provider_stands_in_for_an_index(tmp_path):
    live = {"provider": "command", "command": [sys.executable, "-c", PROGRAM]}
    tools = open_tools(ToolSettings.model_validate({"code": False, "live": live}), 3).tools
    assert tools.offered == ("search", "image_search") and tools.text is not None
    assert [hit.title for hit in asyncio.run(tools.text.search("capital of France", 3))] == ["Paris"]
    assert tools.k == 5
    assert open_tools(ToolSettings.model_validate({"code": False, "live": {**live, "k": 9}}), 3).tools.k == 9
    with pytest.raises(ValidationError, match=r"set live\.k"):
        ToolSettings.model_validate({"hits": 9, "live": live})
    with pytest.raises(ValidationError, match="by index or live"):
        ToolSettings.model_validate({"search": str(tmp_path), "live": live})
    assert json.loads(ToolSettings.model_validate({"live": live}).model_dump_json())["live"]["provider"] == "command"
