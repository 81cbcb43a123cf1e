from __future__ import annotations

import asyncio

import pytest

from gift_dsl.errors import UsageError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.paper import (
    AVERAGED,
    ITEMS,
    PROTOCOLS,
    Measured,
    beside,
    lookup,
    paper_interval,
    paper_rows,
    scores_of,
)
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


def test_averages_are_rounded_as_the_papers_own_are():
    row = lookup("table2/F+I3/nested")
    assert (row.avg, row.printed_avg) == (42.43, 42.43)  # of 42.425
    other = lookup("table2/Informal/TicTacToe")  # of 35.005: the authors had more decimals than they print
    assert (other.avg, other.printed_avg) == (35.01, 35.0)
    assert "printed as 35.00" in beside(other, {})[-1].note


def measured(score, **protocol):
    return Measured(score, protocol=protocol)


def test_ours_stand_beside_theirs_with_the_recomputed_average():
    ours = {name: measured(score) for name, score in zip(AVERAGED, (50.0, 20.0, 10.0, 60.0), strict=True)}
    ours["mmlu"] = Measured(50.0, (49.0, 51.0))
    columns = {one.column: one for one in beside(lookup("table3/Formal/Math"), ours)}
    assert columns["math500"].ours is None
    assert (columns["mmlu"].paper, columns["mmlu"].ours, columns["mmlu"].our_interval) == (66.51, 50.0, (49.0, 51.0))
    assert (columns["avg"].paper, columns["avg"].ours) == (52.51, 35.0)
    assert columns["avg"].note == "printed as 42.00, which does not follow from the row"
    assert beside(lookup("table2/F+I1/nested"), {})[-1].note == ""


def test_the_difference_is_that_of_the_papers_scoring_where_there_is_one():
    ours = {"mmlu": Measured(50.0, gift_v1=40.0), "mmlu_pro": Measured(30.0)}
    columns = {one.column: one for one in beside(lookup("table2/F+I1/nested"), ours)}
    assert columns["mmlu"].difference == pytest.approx(40.0 - 52.94)
    assert columns["mmlu_pro"].difference == pytest.approx(30.0 - columns["mmlu_pro"].paper)
    assert columns["math500"].difference is None
    assert not any("scoring" in one for one in columns["mmlu"].differs)
    assert any("our scoring, not the paper's" in one for one in columns["mmlu_pro"].differs)


def test_a_cell_that_was_measured_as_in_the_paper_differs_in_nothing():
    ours = {
        "mmlu": Measured(50.0, gift_v1=49.0, protocol={**PROTOCOLS["mmlu"], "seed": 7}),
        "tictactoe": measured(50.0, **PROTOCOLS["tictactoe"] | {"opponents": ["judge (google/Gemini-2.5-Flash)"]}),
    }
    assert all(one.differs == () for one in beside(lookup("table2/F+I1/nested"), ours))


@pytest.mark.parametrize(
    ("column", "changed", "told"),
    [
        ("mmlu", {"items": 30}, "items 30, not 14042"),
        ("mmlu", {"max_tokens": 6}, "max tokens 6, not 600"),
        ("math500", {"temperature": 1.0}, "temperature 1.0, not 0.5"),
        ("commongen", {"judge": "stand-in"}, "judge stand-in, not gpt-4o"),
        ("tictactoe", {"rounds": 8}, "rounds 8, not 100"),
        ("tictactoe", {"opponents": ["random"]}, "opponents random, not gemini-2.5-flash"),
        ("whos_the_spy", {"opponents": []}, "opponents , not gemini-2.5-flash"),
        ("tictactoe", {"history": "full"}, "history full, not none"),
        ("matrix_games", {"void": 2}, "without a result and left out: 2 (the paper counts them as lost)"),
    ],
)
def test_what_was_measured_otherwise_is_told(column, changed, told):
    ours = {column: Measured(50.0, gift_v1=50.0, protocol=PROTOCOLS[column] | changed)}
    assert {one.column: one.differs for one in beside(lookup("table2/F+I1/nested"), ours)}[column] == (told,)


def test_a_protocol_that_nobody_wrote_down_is_not_taken_for_the_papers():
    (mmlu,) = [one for one in beside(lookup("table2/F+I1/nested"), {"mmlu": measured(50.0)}) if one.column == "mmlu"]
    assert "items not told, not 14042" in mmlu.differs


def test_an_average_of_columns_that_were_measured_otherwise_is_told():
    ours = {name: Measured(50.0, gift_v1=40.0, protocol=PROTOCOLS[name]) for name in AVERAGED}
    assert beside(lookup("table2/F+I1/nested"), ours)[-1].differs == ()
    assert beside(lookup("table2/F+I1/nested"), ours)[-1].gift_v1 == 40.0
    ours["mmlu"] = Measured(50.0, gift_v1=40.0)
    assert beside(lookup("table2/F+I1/nested"), ours)[-1].differs == ("its columns mmlu",)


def test_scores_are_taken_from_a_result(tmp_path):
    rows = write_rows(tmp_path)
    request = BenchmarksRequest(
        ({"type": "mmlu", "data_dir": "mmlu", "limit": 3},), seed=1, folder=rows, scorings=("none", "gift_v1")
    )
    result = asyncio.run(evaluate_benchmarks(Saying(solve), request))
    (mmlu,) = scores_of(result.to_json()).values()
    assert (mmlu.score, mmlu.gift_v1) == (100.0, 100.0)
    assert mmlu.interval == mmlu.gift_v1_interval == (pytest.approx(43.85, abs=0.01), 100.0)
    told = {"items": 3, "limit": 3, "shots": 0, "temperature": 0.5, "max_tokens": 600}
    assert told.items() <= mmlu.protocol.items()
    assert mmlu.protocol["items_there"] > 3


def test_a_benchmark_without_a_single_answer_has_no_score():
    assert scores_of({"results": {"mmlu": {"acc,none": None}}, "groups": {}, "intervals": {}}) == {}
