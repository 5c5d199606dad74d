"""recipes/paper_7b/rl.toml: what it names, once it is there, can be opened."""

import json
from pathlib import Path

from foveal.config import read_settings
from foveal.train.environment import open_environment
from foveal.train.rl_settings import RlSettings

RECIPE = Path(__file__).parents[2] / "recipes" / "paper_7b" / "rl.toml"


def test_search_questions_are_trained_on_with_search(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERPAPI_API_KEY", "s3cret")
    settings = read_settings(RlSettings, RECIPE, {})
    settings.model.mkdir(parents=True)
    (settings.model / "config.json").write_text("{}", encoding="utf-8")
    for file in settings.questions:
        file.parent.mkdir(exist_ok=True)
        row = {"id": file.stem, "text": "Who?", "gold": "she", "family": file.stem}
        file.write_text(json.dumps(row) + "\n", encoding="utf-8")
    environment = open_environment(settings)
    assert {question.row.family for question in environment.questions} == {"perception", "reason", "search"}
    assert {"code", "search"} <= set(environment.tools.offered)
