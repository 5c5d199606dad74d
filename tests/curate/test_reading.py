import json
from collections import Counter

from foveal.curate.adding import add_sources
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings


def test_rows_that_differ_in_their_choices_are_two_questions(tmp_path):
    rows = [{"q": "Which?", "a": "A", "c": choices} for choices in (["cat", "dog"], ["cow", "hen"], ["cow", "hen"])]
    (tmp_path / "raw.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    columns = {"question": "q", "answer": "a", "choices": "c"}
    source = {"name": "s", "path": str(tmp_path / "raw.jsonl"), "columns": columns}
    figures = add_sources(tmp_path / "out", [SourceSettings.model_validate(source)])
    assert (figures.kept, figures.rejected) == (2, Counter(duplicate=1))
    assert [question.row.text for question in read_questions([tmp_path / "out" / "questions.jsonl"])] == [
        "Which?\nA. cat\nB. dog",
        "Which?\nA. cow\nB. hen",
    ]
