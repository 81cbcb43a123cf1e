from __future__ import annotations

from dataclasses import dataclass

import pytest

from gift_dsl.report.tables import Table, benchmarks_table, paper_table, to_latex, to_markdown

RESULT = {
    "results": {
        "mmlu": {"alias": "mmlu", "sample_len": 4, "acc,none": 0.5, "acc_stderr,none": 0.29, "acc,gift_v1": 0.25},
        "commongen": {"win_tie,none": 0.75, "win_tie_stderr,none": "N/A"},
    },
    "groups": {"avg": {"alias": "avg", "avg,none": 0.6, "avg_stderr,none": 0.1}},
    "intervals": {"mmlu": {"acc,none": [0.15, 0.85]}, "avg": {"avg,none": [0.4, 0.8]}},
    "counts": {"mmlu": {"none": {"bad_format": 1, "correct": 2, "void": 1}, "gift_v1": {"correct": 1}}},
    "n-samples": {"mmlu": {"original": 9, "effective": 4}},
    "protocols": {
        "mmlu": {"kind": "generative", "shots": 0, "temperature": 0.5, "template_hash": "0123456789", "limit": None}
    },
}


@dataclass
class Column:
    column: str
    paper: float
    paper_interval: tuple[float, float] | None
    ours: float | None
    our_interval: tuple[float, float] | None
    difference: float | None = None
    told: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    gift_v1: float | None = None
    gift_v1_interval: tuple[float, float] | None = None


def test_a_markdown_table_can_be_read_as_it_is():
    table = Table(("name", "%"), (("a|b", "1"), ("long\nname", "22.5")), notes=("A note.",))
    assert to_markdown(table) == (
        "| name      |    % |\n| --------- | ---: |\n| a\\|b      |    1 |\n| long name | 22.5 |\n\nA note.\n"
    )


def test_a_latex_table_escapes_what_latex_would_obey():
    table = Table(("a_b", "5 %"), (("x & y", "1 – 2"), (r"\input{z}", "a→b")), notes=("A note.",))
    assert to_latex(table) == (
        "\\begin{tabular}{lr}\n\\toprule\na\\_b & 5 \\% \\\\\n\\midrule\n"
        "x \\& y & 1 -- 2 \\\\\n"
        "\\textbackslash{}input\\{z\\} & a$\\rightarrow$b \\\\\n"
        "\\bottomrule\n\\end{tabular}\n% A note.\n"
    )


def test_every_score_stands_with_its_interval_and_its_protocol():
    table = benchmarks_table(RESULT)
    assert table.rows == (
        ("mmlu", "acc", "ours", "50.00", "15.00 – 85.00", "4", "1", "1"),
        ("mmlu", "acc", "gift_v1", "25.00", "", "4", "0", "0"),
        ("commongen", "win_tie", "none", "75.00", "", "", "", ""),
        ("avg", "avg", "ours", "60.00", "40.00 – 80.00", "", "", ""),
    )
    assert table.notes == ("mmlu: kind generative, shots 0, temperature 0.5, templates 01234567",)
    assert "50.00" in to_markdown(table)
    assert "50.00" in to_latex(table)


def judged_by(consistency):
    return {**RESULT, "more": {"commongen": {"judge": "j", "consistency": consistency}}}


def test_a_judge_s_consistency_stands_beside_its_score():
    table = benchmarks_table(judged_by(0.9))
    assert table.header[-1] == "judge alike %"
    assert [row[-1] for row in table.rows] == ["", "", "90.00", ""]
    assert len(table.alignment) == len(table.header)
    assert not [note for note in table.notes if "warning" in note]
    assert benchmarks_table(judged_by(None)) == benchmarks_table(RESULT), "it was asked in one order"


def test_a_judge_of_two_opinions_is_warned_of():
    assert any(
        note.startswith("warning: the judge of commongen gave one verdict in both orders for 0.00 %")
        for note in benchmarks_table(judged_by(0.0)).notes
    )


def test_an_item_without_a_verdict_is_unanswered():
    counts = {"none": {"bad_format": 1, "win": 2, "void": 1, "unjudged": 3, "truncated": 2}}
    table = benchmarks_table({**RESULT, "counts": {"commongen": counts}})
    assert table.rows[2][-2:] == ("1", "4")


def test_ours_beside_theirs_names_what_is_odd_about_theirs():
    columns = [
        Column("mmlu", 66.51, (65.7, 67.3), 50.0, (49.0, 51.0), -16.51),
        Column("tictactoe", 31.0, (22.8, 40.6), None, None),
        Column("avg", 52.51, None, 50.0, None, told=("printed as 42.00",)),
    ]
    table = paper_table("table3/Formal/Math", columns)
    assert table.rows[0] == ("mmlu", "66.51", "65.70 – 67.30", "50.00", "49.00 – 51.00", "-16.51")
    assert table.rows[1] == ("tictactoe", "31.00", "22.80 – 40.60", "", "", "")
    assert table.notes[0] == "avg: printed as 42.00"
    assert not any("*" in note for note in table.notes)


def test_a_difference_that_is_not_like_for_like_has_a_star():
    told = ("ours: items 30", "items 30, not 14042")
    table = paper_table("x", [Column("mmlu", 66.51, None, 50.0, None, -16.51, told, ("items 30, not 14042",))])
    assert table.rows[0][-1] == "-16.51 *"
    assert table.notes[:3] == ("mmlu: ours: items 30", "mmlu: items 30, not 14042", table.notes[2])
    assert table.notes[2].startswith("* measured otherwise")


def test_scores_in_the_papers_scoring_stand_beside_ours():
    columns = [Column("mmlu", 66.5, None, 50.0, None, -6.5, gift_v1=60.0, gift_v1_interval=(59.0, 61.0))]
    table = paper_table("x", columns)
    assert table.header[-3:] == ("ours, scored as theirs", "its interval", "difference")
    assert table.rows == (("mmlu", "66.50", "", "50.00", "", "60.00", "59.00 – 61.00", "-6.50"),)


@pytest.mark.parametrize("render", [to_markdown, to_latex])
def test_a_table_without_rows_has_its_header(render):
    assert "name" in render(Table(("name",), ()))
