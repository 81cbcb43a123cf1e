from __future__ import annotations

import pytest

from gift_dsl.errors import MachineError
from gift_dsl.evaluate import gift_v1
from gift_dsl.evaluate.gift_v1 import read_answer, read_letter, read_verdict, verify_math

WORKER = """
import sys, json, time
print("ready", flush=True)
for line in sys.stdin:
    gold, answer = json.loads(line)
    if answer == "die":
        sys.exit(1)
    if answer == "hang":
        time.sleep(60)
    print("true" if gold == answer else "false", flush=True)
"""


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("B - A simpler sentence", "A"),
        ("My choice: B. All concepts", "A"),
        ("B", "B"),
        ("Tie", None),
        ("tie", "tie"),
        ("Neither A nor B", "neither"),
        ("", None),
    ],
)
def test_a_verdict_is_read_as_the_papers_script_reads_it(reply, verdict):
    assert read_verdict(reply) == verdict


def test_an_answer_is_everything_between_the_first_and_the_last_tag():
    assert read_answer("<answer>A</answer> or <answer>B</answer>") == "A</answer> or <answer>B"
    assert read_answer("A") is None


def test_letters_beyond_the_last_are_no_choices():
    assert read_letter("E", "D") is None
    assert read_letter("E", "J") == "E"


def test_a_comparison_that_dies_or_hangs_is_wrong_and_the_next_ones_go_on(tmp_path, monkeypatch):
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    monkeypatch.setattr(gift_v1, "_WORKER", path)
    monkeypatch.setattr(gift_v1, "_TIMEOUT_S", 2.0)
    pairs = [("1", "1"), ("2", "die"), ("3", "3"), ("4", "hang"), ("5", "6"), ("7", "7")]
    assert verify_math(pairs) == [True, False, True, False, False, True]
    assert verify_math([]) == []


def test_without_the_library_that_compares_it_is_named(tmp_path, monkeypatch):
    path = tmp_path / "worker.py"
    path.write_text("raise ImportError")
    monkeypatch.setattr(gift_v1, "_WORKER", path)
    with pytest.raises(MachineError, match="needs the package math-verify"):
        verify_math([("1", "1")])
