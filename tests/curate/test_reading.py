import json
from collections import Counter

from foveal.curate.adding import add_sources
from foveal.curate.mapping import Reading
from foveal.curate.questions import read_questions
from foveal.curate.sources import SourceSettings


def source(path, columns):
    return SourceSettings.model_validate({"name": "s", "path": str(path), "columns": columns})


def test_rows_that_differ_in_their_choices_are_two_questions(tmp_path):
    rows = [{"q": "Which?", "a": "A", "c": choices} for choices in (["cat", "dog"], ["cow", "hen"], ["cow", "hen"])]
    (tmp_path / "raw.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    columns = {"question": "q", "answer": "a", "choices": "c"}
    figures = add_sources(tmp_path / "out", [source(tmp_path / "raw.jsonl", columns)])
    assert (figures.kept, figures.rejected) == (2, Counter(duplicate=1))
    assert [question.row.text for question in read_questions([tmp_path / "out" / "questions.jsonl"])] == [
        "Which?\nA. cat\nB. dog",
        "Which?\nA. cow\nB. hen",
    ]


def test_places_of_choices_and_numbers_are_not_taken_for_texts(tmp_path):
    (tmp_path / "a.csv").write_text('q,a,c\nWho?,1,"[""cat"", ""dog""]"\nHow many?,2,"[""1"", ""2""]"\n')
    rows = '{"q": "Why?", "a": "x", "key": 17.0, "d": NaN, "f": NaN}\n{"q": "So?", "key": NaN}\n'
    (tmp_path / "b.jsonl").write_text(rows)
    columns = {"question": "q", "answer": "a", "choices": "c"}
    text = source(tmp_path / "a.csv", columns)
    figures = add_sources(tmp_path / "text", [text])
    (question,) = read_questions([tmp_path / "text" / "questions.jsonl"])
    assert (question.row.gold, figures.rejected) == (("2",), Counter(wrong_answer=1))
    add_sources(tmp_path / "places", [text.model_copy(update={"reading": Reading(answer_index=True)})])
    (question,) = read_questions([tmp_path / "places" / "questions.jsonl"])  # place 2 of two choices is none
    assert question.row.gold == ("dog",)
    columns = {"question": "q", "id": "key", "domain": "d", "family": "f"}
    add_sources(tmp_path / "json", [source(tmp_path / "b.jsonl", columns)])
    first, second = read_questions([tmp_path / "json" / "questions.jsonl"])
    assert (first.row.id, second.row.id, first.row.family) == ("s-17", "s-2", None) and "domain" not in first.row.meta
