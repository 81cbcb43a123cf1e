"""Rows of benchmarks in files."""

from __future__ import annotations

import json

import pytest

from gift_dsl.evaluate.items import read_rows


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_a_row_ends_with_its_line_and_not_where_unicode_ends_one(tmp_path, name):
    rows = [{"question": f"a\u2028b\u2029c\u0085{number}"} for number in range(3)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_rows(tmp_path / name) == rows
