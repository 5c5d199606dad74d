import json
from decimal import Decimal

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foveal.curate.rows import column_names, open_rows
from foveal.curate.tables import BadRow, RawRow
from foveal.errors import ConfigError


def read(path, kind, wanted=("q",), items=None):
    return list(open_rows(path, kind, wanted, items).rows)


def rows(*pairs):
    return [RawRow(number, values) for number, values in pairs]


def test_json_lines_are_numbered_and_a_bad_one_costs_only_itself(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"q": "a"}\n\n[1]\n{"q": \n{"q": "\xff"}\n{"q": 1.10}\n{"q": "no newline"}')
    found = read(path, "jsonl")
    assert [row for row in found if isinstance(row, RawRow)] == rows(
        (1, {"q": "a"}), (6, {"q": Decimal("1.10")}), (7, {"q": "no newline"})
    )
    assert str(found[4].values["q"] if isinstance(found[4], RawRow) else "") == "1.10"
    bad = [row for row in found if isinstance(row, BadRow)]
    assert [(row.number, row.reason) for row in bad] == [(3, "not_a_row"), (4, "not_a_row"), (5, "not_a_row")]
    assert "list" in bad[0].message and bad[1].said == '{"q": \n'


def test_deeply_nested_lines_are_bad_rows(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("[" * 200_000 + "\n" + '{"q": "b"}\n')
    first, second = read(path, "jsonl")
    assert isinstance(first, BadRow) and second == RawRow(2, {"q": "b"})


def test_a_json_list_is_read_until_it_breaks_off(tmp_path):
    path = tmp_path / "a.json"
    whole = json.dumps([{"q": "a", "n": 1.5}, "no object", {"q": "ü"}])
    path.write_text("﻿ \n" + whole, encoding="utf-8")
    first, second, third = read(path, "json")
    assert first == RawRow(1, {"q": "a", "n": Decimal("1.5")})
    assert isinstance(second, BadRow) and (second.number, second.reason) == (2, "not_a_row")
    assert third == RawRow(3, {"q": "ü"})
    path.write_text(whole[:-5], encoding="utf-8")
    *kept, last = read(path, "json")
    assert kept == [first, second]
    assert (last.number, last.reason) == (3, "unreadable") and "after 2 rows" in last.message


@pytest.mark.parametrize("text", ["", "   ", "garbage", '[{"q": NaN}]', "[1,]", '[{"q": "\xff"}]', "[] trailing"])
def test_a_json_file_that_is_none_is_one_problem(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="latin-1")
    last = read(path, "json")[-1]
    assert isinstance(last, BadRow) and last.reason == "unreadable"


def test_the_list_within_a_json_object_has_to_be_named(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n"info": {"n": 2},\n"data": {"train": [{"q": "a"}]}}')
    with pytest.raises(ConfigError, match="one JSON object"):
        read(path, "json")
    assert read(path, "json", items="data.train") == rows((1, {"q": "a"}))
    with pytest.raises(ConfigError, match=r"no list data\.test"):
        read(path, "json", items="data.test")


def test_json_lines_in_a_file_named_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"q": "a"}\n{"q": "b"}\n')
    assert read(path, "json") == rows((1, {"q": "a"}), (2, {"q": "b"}))


def test_csv_rows_have_the_line_that_they_begin_at(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbfq,a\r\n"two\nlines",1\r\nshort\r\n"bad"x,2\r\nlatin\xe9,3\r\n\r\nlast,4\r\n')
    table = open_rows(path, "csv", ("q",))
    assert table.columns == {"q", "a"}
    found = list(table.rows)
    assert [row for row in found if isinstance(row, RawRow)] == rows(
        (2, {"q": "two\nlines", "a": "1"}), (8, {"q": "last", "a": "4"})
    )
    bad = [(row.number, row.reason) for row in found if isinstance(row, BadRow)]
    assert bad == [(4, "not_a_row"), (5, "not_a_row"), (6, "not_a_row")]


def test_a_quote_that_is_never_closed_is_told_with_its_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('q\na\n"open\nb\nc\n')
    first, last = read(path, "csv")
    assert first == RawRow(2, {"q": "a"})
    assert (last.number, last.reason) == (3, "unreadable")


def test_a_csv_field_may_hold_a_picture(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("q\timage\nwhat?\t" + "A" * 1_000_000 + "\n")
    (row,) = read(path, "csv")
    assert len(row.values["image"]) == 1_000_000


def test_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("q,q\n1,2\n")
    with pytest.raises(ConfigError, match="two columns of one name"):
        read(path, "csv")


def test_parquet_is_read_with_structs_and_only_the_wanted_columns(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"q": ["a", "b"], "s": [{"x": [{"y": b"1"}]}, None], "other": [1, 2]})
    pq.write_table(table, path, row_group_size=1)
    opened = open_rows(path, "parquet", ("q", "s.x"))
    assert opened.columns == {"q", "s", "s.x", "other"}
    assert list(opened.rows) == rows((1, {"q": "a", "s": {"x": [{"y": b"1"}]}}), (2, {"q": "b", "s": None}))


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_numbers_of_few_bits_are_what_was_written(tmp_path, kind):
    f16, f32, path = pa.float16(), pa.float32(), tmp_path / f"a.{kind}"
    columns = {
        "a": pa.array([1.7, None, 1e16], f32),
        "b": pa.array(np.array([1.7, 0.1, 2.0], np.float16), f16),
        "c": pa.array([[0.1, None], None, []], pa.list_(f32)),
        "d": pa.array([{"x": 0.1, "y": [{"z": 0.7}]}, None, {"x": None, "y": None}], None)
        .cast(pa.struct({"x": f32, "y": pa.list_(pa.struct({"z": f32}))})),
        "e": pa.array([0.1, 1.7000000476837158, float("inf")], pa.float64()),
        "f": pa.array([[("k", 0.1)], None, []], pa.map_(pa.string(), f32)),
    }  # fmt: skip
    table = pa.table(columns)
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
    assert [row.values for row in read(path, kind, tuple(columns))] == [
        {"a": 1.7, "b": 1.7, "c": [0.1, None], "d": {"x": 0.1, "y": [{"z": 0.7}]}, "e": 0.1, "f": [("k", 0.1)]},
        {"a": None, "b": 0.1, "c": None, "d": None, "e": 1.7000000476837158, "f": None},
        {"a": 1e16, "b": 2.0, "c": [], "d": {"x": None, "y": None}, "e": float("inf"), "f": []},
    ]


def test_a_damaged_parquet_file_keeps_what_stands_before(tmp_path):
    path = tmp_path / "a.parquet"
    values = [bytes([n % 256]) * 5000 + str(n).encode() for n in range(200)]
    pq.write_table(pa.table({"q": values}), path, row_group_size=100, compression="zstd", use_dictionary=False)
    content = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    content[start : start + 300] = b"\xff" * 300
    path.write_bytes(bytes(content))
    *kept, last = read(path, "parquet")
    assert len(kept) >= 100 - 1 and all(isinstance(row, RawRow) for row in kept)
    assert last.reason == "unreadable" and last.number == len(kept) + 1


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"x" * 100 + b"PAR1", b"version https://git-lfs\n"])
def test_a_broken_footer_is_one_problem(tmp_path, kind, content):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    (bad,) = read(path, kind)
    assert (bad.number, bad.reason) == (None, "unreadable")


def test_class_labels_are_read_as_their_names(tmp_path):
    features = datasets.Features({"q": datasets.Value("string"), "a": datasets.ClassLabel(names=["cat", "dog"])})
    made = datasets.Dataset.from_dict({"q": ["x", "y"], "a": [1, 0]}, features=features)
    made.to_parquet(tmp_path / "a.parquet")
    assert [row.values["a"] for row in read(tmp_path / "a.parquet", "parquet", ("a",))] == ["dog", "cat"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_a_reader_fail(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "file"
    path.write_bytes(content)
    for kind in ("json", "jsonl", "csv", "parquet", "arrow"):
        try:
            found = read(path, kind)
        except ConfigError:
            continue
        assert all(isinstance(row, RawRow | BadRow) for row in found)


def test_names_of_columns_reach_into_structs():
    assert set(column_names({"a": {"b": {"c": 1}}, "d": [{"e": 1}]})) == {"a", "a.b", "a.b.c", "d"}
