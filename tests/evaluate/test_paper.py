from __future__ import annotations

import asyncio

import pytest

from gift_dsl.errors import UsageError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.paper import ITEMS, beside, lookup, paper_interval, paper_rows, scores_of
from tests.evaluate.words import Saying, solve, write_rows


def test_all_35_rows_are_there_with_eight_columns_each():
    rows = paper_rows()
    assert len(rows) == len({row.key for row in rows}) == 35
    assert all(tuple(row.scores) == tuple(ITEMS) for row in rows)
    assert all(0 <= score <= 100 for row in rows for score in (*row.scores.values(), row.printed_avg))


def test_a_row_is_found_by_table_setting_and_arm():
    row = lookup("table2/F+I1/nested")
    assert (row.scores["math500"], row.scores["mmlu"], row.avg, row.printed_avg) == (40.0, 52.94, 40.4, 40.4)
    assert lookup("TABLE7/gpt-4o").scores["commongen"] == 53.02
    assert "Qwen2.5-7B" in lookup("table3/Formal/Math").title


def test_an_unknown_row_is_refused_with_its_neighbours():
    with pytest.raises(UsageError, match=r"no row `table2/F\+I1/nestd`; did you mean table2/F\+I1/nested"):
        lookup("table2/F+I1/nestd")


def test_two_printed_averages_do_not_follow_from_their_rows():
    odd = {row.key: (row.printed_avg, row.avg) for row in paper_rows() if not row.is_consistent}
    assert odd == {"table2/Base/Qwen2.5-1.5B": (27.1, 21.7), "table3/Formal/Math": (42.0, 52.51)}


def test_the_papers_headline_gain_is_a_third_of_what_it_says():
    formal, nested = lookup("table3/Formal/Math"), lookup("table3/F+I3/nested")
    assert nested.printed_avg - formal.printed_avg == pytest.approx(13.84)
    assert nested.avg - formal.avg == pytest.approx(3.33)


def test_rows_that_are_printed_twice_are_the_same():
    assert lookup("table2/F+I2/mixed").scores == lookup("table4/F+I2/mixed").scores
    assert lookup("table3/F+I1/nested").scores == lookup("table6/math->matrix").scores


def test_every_cell_is_a_whole_number_of_items():
    def fits(row, column):
        total = ITEMS[column]
        return any(
            round(100 * (round(row.scores[column] * total / 100) + shift) / total, 2) == row.scores[column]
            for shift in (-1, 0, 1)
        )

    assert all(fits(row, column) for row in paper_rows() for column in ("math500", "commongen", "social_iqa"))


def test_a_hundred_rounds_are_ten_points_either_way():
    low, high = paper_interval(lookup("table3/F+I3/nested"), "tictactoe")
    assert (low, high) == (pytest.approx(37.5, abs=0.2), pytest.approx(56.7, abs=0.2))


def test_ours_stand_beside_theirs_with_the_recomputed_average():
    ours = {"mmlu": 50.0, "mmlu_pro": 20.0, "commongen": 10.0, "social_iqa": 60.0}
    columns = {one.column: one for one in beside(lookup("table3/Formal/Math"), ours, {"mmlu": (49.0, 51.0)})}
    assert columns["math500"].ours is None
    assert (columns["mmlu"].paper, columns["mmlu"].ours, columns["mmlu"].our_interval) == (66.51, 50.0, (49.0, 51.0))
    assert (columns["avg"].paper, columns["avg"].ours) == (52.51, 35.0)
    assert columns["avg"].note == "printed as 42.00, which does not follow from the row"
    assert beside(lookup("table2/F+I1/nested"), {})[-1].note == ""


def test_scores_are_taken_from_a_result(tmp_path):
    rows = write_rows(tmp_path)
    request = BenchmarksRequest(({"type": "mmlu", "data_dir": "mmlu"},), seed=1, folder=rows)
    result = asyncio.run(evaluate_benchmarks(Saying(solve), request))
    scores, intervals = scores_of(result.to_json())
    assert scores == {"mmlu": 100.0}
    assert intervals["mmlu"] == (pytest.approx(70.09, abs=0.01), 100.0)


def test_a_benchmark_without_a_single_answer_has_no_score():
    assert scores_of({"results": {"mmlu": {"acc,none": None}}, "groups": {}, "intervals": {}}) == ({}, {})
