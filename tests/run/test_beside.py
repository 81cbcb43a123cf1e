from __future__ import annotations

import json

import pytest

from gift_dsl import api
from gift_dsl.errors import MachineError
from gift_dsl.report.tables import to_markdown
from tests.run.evaluated import examined_run, rounds_of

ROW = "table2/F+I3/nested"


def evaluation(tmp_path, instance="3x3x3:.........:X", **more):
    score = {
        "game": "ttt", "chain": None, "split": "dev", "held_out": "none", "opponents": ["gem"],
        "rounds": 8, "rate": 0.25, "interval": [0.1, 0.6], "counts": {"void": 1},
    }  # fmt: skip
    found = {
        "schema": "gift-eval/1",
        "protocol": {"temperature": 0.5, "max_tokens": 600, "history": "none"},
        "games": {"ttt": score},
        "chains": {},
        "plays": [{"label": "ttt", "chain": None, "rounds": [{"number": 0, "instance": instance}]}],
        "results": {"mmlu": {"acc,none": 0.5, "acc,gift_v1": 0.25}},
        "groups": {},
        "intervals": {"mmlu": {"acc,none": [0.3, 0.7], "acc,gift_v1": [0.1, 0.4]}},
        "n-samples": {"mmlu": {"original": 14042, "effective": 30}},
        "protocols": {"mmlu": {"shots": 0, "temperature": 0.5, "max_tokens": 600, "limit": 30, "items": "ab12"}},
    }
    path = tmp_path / "eval.json"
    path.write_text(json.dumps(found | more), encoding="utf-8")
    return path


def columns_of(path):
    document, (table,) = api.compare_with_paper([path], ROW)
    return {one["column"]: one for one in document["columns"]}, to_markdown(table)


def test_an_evaluation_stands_beside_the_paper_with_its_protocol(tmp_path):
    columns, text = columns_of(evaluation(tmp_path))
    mmlu, ttt = columns["mmlu"], columns["tictactoe"]
    assert (mmlu["ours"], mmlu["ours_gift_v1"], mmlu["our_gift_v1_interval"]) == (50.0, 25.0, (10.0, 40.0))
    assert mmlu["difference"] == pytest.approx(25.0 - 53.27)
    assert mmlu["differs"] == ["items 30, not 14042"]
    assert mmlu["our_protocol"]["items"] == 30
    assert mmlu["paper_protocol"]["items"] == 14_042
    assert ttt["differs"] == [
        "rounds 8, not 100",
        "opponents gem, not gemini-2.5-flash",
        "without a result and left out: 1 (the paper counts them as lost)",
    ]
    assert "mmlu: ours: items 30 of 14042, limit 30, shots 0, temperature 0.5, max tokens 600" in text
    assert "-28.27 *" in text


def test_another_board_is_not_taken_for_tictactoe(tmp_path):
    columns, _ = columns_of(evaluation(tmp_path, instance="4x4x4:................:X"))
    assert columns["tictactoe"]["ours"] is None


def test_a_file_that_is_no_evaluation_is_refused(tmp_path):
    path = evaluation(tmp_path, schema="gift-games/1")
    with pytest.raises(MachineError, match="is no evaluation"):
        api.compare_with_paper([path], ROW)


def test_a_run_tells_rounds_sampling_and_opponents(tmp_path):
    path = examined_run(tmp_path, {"tictactoe": rounds_of(0.5, "a")}, opponents=["random"])
    columns, text = columns_of(path)
    told = columns["tictactoe"]
    assert (told["our_protocol"]["max_tokens"], told["our_protocol"]["opponents"]) == (6, ["random"])
    assert {"max tokens 6, not 600", "opponents random, not gemini-2.5-flash"} <= set(told["differs"])
    assert "opponents random" in text
