"""Comparing answers: what is the same counts however it is written, what is not never does, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import MachineError
from gift_dsl.games import math_worker
from gift_dsl.games.grading import (
    Verdict,
    grade_choice,
    grade_math,
    grade_math_async,
    grade_number,
    grade_text,
    parse_choice,
    parse_number,
)
from gift_dsl.games.math_pool import MathPool

# Values of the kinds that break a careless parser: roots, pairs, intervals, expressions, words, bare fractions, units.
GOLDS = (
    "12",
    "-7",
    "1,000",
    "0.25",
    r"\frac43",
    r"-\frac{3}{8}",
    r"2\sqrt{3}",
    r"\frac{1+\sqrt{5}}{2}",
    r"(3,\pi/2)",
    "(2,-1,5)",
    "[0,1)",
    r"(-\infty,2]\cup[5,\infty)",
    "p - q",
    "x^2+2x+1",
    "6-5i",
    r"\text{Evelyn}",
    r"90^\circ",
    r"50\%",
    r"\{1,2,3\}",
    "y=2x+3",
    r"\begin{pmatrix}1\\2\end{pmatrix}",
    r"10\text{ cm}",
)
FORMATS = {
    "bare": "{}",
    "dollars": "${}$",
    "parentheses": r"\({}\)",
    "boxed": r"\boxed{{{}}}",
    "sentence": "So there are 3 cases, and the answer is ${}$.",
    "plain sentence": "So there are 3 cases, and the answer is {}.",
}
# A parser that takes what it finds first calls each of these 2.
BEGIN_WITH_TWO = (
    *(
        r"2\sqrt{3}",
        "2\N{SQUARE ROOT}3",
        "2 sqrt(3)",
        "2 pi",
        "2\N{GREEK SMALL LETTER PI}",
        "2x",
        "2i",
        "2e5",
        "2/3",
        "2:3",
    ),
    *("2 or 3", "2, 3", "2 3", "2 million", "2 times root three", "2 + 3 apples", "2\N{MIDDLE DOT}3"),
)
NONSENSE = ("the cat", "$$", r"\boxed{}", "I do not know.")


@pytest.fixture(scope="module")
def pool():
    with MathPool(workers=2) as pool:
        yield pool


# --- mathematics


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("gold", GOLDS)
def test_a_right_answer_scores_in_every_format(gold, form):
    assert grade_math(gold, FORMATS[form].format(gold), 60.0) == Verdict(True)


@pytest.mark.parametrize("form", FORMATS)
def test_the_value_of_another_question_never_scores(form):
    others = [(gold, GOLDS[(place + 7) % len(GOLDS)]) for place, gold in enumerate(GOLDS)]
    assert [pair for pair in others if grade_math(pair[0], FORMATS[form].format(pair[1]), 60.0).correct] == []


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"\frac12", "0.5"),
        (r"\frac12", "1/2"),
        (r"\frac{2}{4}", r"$\frac{1}{2}$"),
        (r"2\sqrt{3}", r"$\sqrt{12}$"),
        ("x^2+2x+1", "$(x+1)^2$"),
        (r"\{1,2\}", r"$\{2,1\}$"),
        ("x=5", "5"),
        ("5", "$x=5$"),
        ("1000", "1,000"),
        ("7", "The answer is 7."),
        ("7", "7 apples"),
        ("7", "**7**."),
        ("0.000007", "7e-6"),
        (r"2\sqrt{3}", "2\N{SQUARE ROOT}3"),
        (r"2\sqrt{3}", "2 sqrt(3)"),
        (r"2\pi", "2\N{GREEK SMALL LETTER PI}"),
        (r"2\pi", "the area is 2 pi"),
        (r"\text{even}", "Even"),
        (r"\text{even}", "**even**"),
        ("7", "the first try gave $5$, but the answer is $7$"),
        ("5", r"\boxed{5} or, rounded, $6$"),
    ],
)
def test_a_value_counts_whatever_its_expression(gold, answer):
    assert grade_math(gold, answer, 60.0).correct


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        (r"2\sqrt{3}", "2"),
        (r"2\sqrt{3}", r"$\sqrt{3}$"),
        ("(3,5)", "3"),
        ("6-5i", "5"),
        ("5", "-5"),
        ("5", "5 or 6"),
        ("6", "5 or 6"),
        ("6", "5, 6"),
        ("6", r"5\text{ or }6"),
        ("5", "1 2 3 4 5"),
        ("15", "1 2 3 4 5"),
        ("5", "$5$ or $6$"),
        *(("2", f"{text}") for text in BEGIN_WITH_TWO),
        *(("2", f"The answer is {text}.") for text in BEGIN_WITH_TWO),
        ("6", r"\boxed{5} \boxed{6}"),
        ("[0,1)", "$[0,1]$"),
        (r"\{1,2\}", r"$\{1,2,3\}$"),
        *(("0", text) for text in NONSENSE),
    ],
)
def test_part_of_a_value_a_list_of_guesses_and_nonsense_never_score(gold, answer):
    assert not grade_math(gold, answer, 60.0).correct


def test_a_list_is_the_answer_where_a_list_is_asked():
    assert grade_math("1,2,3", "3, 2, 1", 60.0).correct


def test_digits_in_groups_of_three_are_one_number():
    assert grade_math("1000000", "1 000 000", 60.0).correct


def test_an_answer_that_is_the_gold_answer_itself_needs_no_parser():
    assert grade_math(r"\undefined{", r" \undefined{ ") == Verdict(True)


@pytest.mark.parametrize("text", ["", "  \n", "$$", r"\boxed{}"])
def test_an_answer_without_a_value_says_so(text):
    assert grade_math("12", text, 60.0).reason == "unreadable"


def test_a_wrong_value_says_so():
    assert grade_math("12", "$13$", 60.0) == Verdict(False, "different")


def test_a_gold_answer_without_a_value_is_not_held_against_the_answer():
    verdict = grade_math("", "$13$", 60.0)
    assert (verdict.correct, verdict.reason) == (False, "unverifiable")
    assert "gold" in verdict.detail


@pytest.mark.parametrize(("gold", "answer"), [("5", "10^{10^{10}}"), ("10^{10^{10}}", "$5$"), ("5", r"$(10^9)!$")])
def test_a_tower_of_powers_ends_as_unverifiable_and_the_next_answer_is_graded(gold, answer):
    assert grade_math(gold, answer, 1.0) == Verdict(False, "unverifiable", "no verdict after 1 s")
    assert grade_math("12", f"$12 + 0 \\cdot {len(answer)}$", 60.0).correct


def test_a_verdict_can_be_awaited_while_other_things_go_on():
    async def both():
        slow = asyncio.create_task(grade_math_async("5", "10^{10^{9}}", 1.0))
        quick = await grade_math_async("5", "$5.0$", 60.0)
        return quick, slow.done(), await slow

    quick, was_done, slow = asyncio.run(both())
    assert (quick.correct, was_done, slow.reason) == (True, False, "unverifiable")


# --- the workers


def test_many_threads_share_the_workers(pool):
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda k: pool.compare(f"${k % 3}$", f"${k}$", 60.0).correct, range(30)))
    assert replies == [k < 3 for k in range(30)]


def running(pool):
    return [worker._process for worker in pool._running]


def test_a_worker_that_was_killed_by_someone_else_costs_no_answer(pool):
    pool.compare("$1$", "$1.0$", 60.0)
    for process in running(pool):
        process.kill()
        process.wait()
    assert pool.compare("$1$", "$1.0$", 60.0).correct


@pytest.mark.skipif(os.name != "posix", reason="there are no signals of this kind")
def test_an_interrupt_of_the_terminal_does_not_end_a_worker(pool):
    pool.compare("$1$", "$1.0$", 60.0)
    before = running(pool)
    for process in before:
        process.send_signal(signal.SIGINT)
    assert pool.compare("$1$", "$1.0$", 60.0).correct
    assert running(pool) == before


def test_closing_ends_every_worker_and_a_closed_pool_says_so():
    pool = MathPool(workers=1)
    assert pool.compare("$1$", "$1.0$", 60.0).correct
    (process,) = running(pool)
    pool.close()
    pool.close()
    assert process.returncode is not None
    with pytest.raises(MachineError, match="closed"):
        pool.compare("$1$", "$1.0$", 60.0)


def test_a_fork_does_not_end_the_workers_of_its_parent(monkeypatch):
    fork = MathPool(workers=1)
    fork.compare("$1$", "$1.0$", 60.0)
    (process,) = running(fork)
    parent = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: parent + 1)
    fork.close()
    assert process.poll() is None
    monkeypatch.undo()
    fork.close()
    assert process.poll() is not None


def test_an_interrupted_comparison_does_not_answer_the_next_one(monkeypatch):
    def interrupt(worker, timeout_s):
        raise KeyboardInterrupt

    with MathPool(workers=1) as pool:
        assert pool.compare("$1$", "$1.0$", 60.0).correct
        with monkeypatch.context() as patch:
            patch.setattr(type(next(iter(pool._running))), "receive", interrupt)
            with pytest.raises(KeyboardInterrupt):
                pool.compare("$1$", "$1.00$", 60.0)
        assert not pool.compare("$1$", "$2$", 60.0).correct


def stand_in(tmp_path, monkeypatch, code):
    """Let workers find this module in the place of math-verify."""
    (tmp_path / "math_verify.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return MathPool(workers=1)


def test_without_math_verify_the_machine_is_not_ready(tmp_path, monkeypatch):
    with (
        stand_in(tmp_path, monkeypatch, "raise ImportError('no such thing')") as pool,
        pytest.raises(MachineError, match="math-verify: no such thing"),
    ):
        pool.compare("1", "1", 60.0)
    assert running(pool) == []


def test_a_worker_that_does_not_start_is_an_error_of_the_machine(tmp_path, monkeypatch):
    with (
        stand_in(tmp_path, monkeypatch, "raise SystemExit") as pool,
        pytest.raises(MachineError, match="did not start"),
    ):
        pool.compare("1", "1", 60.0)


PARSER = """
import os, sys
print("a library that talks")
class LatexExtractionConfig: pass
def parse(text, config, parsing_timeout): return [text]
def verify(gold, answer, timeout_seconds): {}
"""


def test_what_a_library_prints_is_no_verdict(tmp_path, monkeypatch):
    with stand_in(tmp_path, monkeypatch, PARSER.format("print('more talk'); return True")) as pool:
        assert pool.compare("$1$", "$1$", 60.0).correct


def test_a_comparison_that_ends_its_process_twice_is_unverifiable(tmp_path, monkeypatch):
    with stand_in(tmp_path, monkeypatch, PARSER.format("os._exit(3)")) as pool:
        reply = pool.compare("$1$", "$1$", 60.0)
    assert (reply.correct, reply.reason) == (False, "unverifiable")


@pytest.mark.parametrize("error", ["MemoryError", "RecursionError"])
def test_a_comparison_that_outgrows_its_worker_is_unverifiable(tmp_path, monkeypatch, error):
    with stand_in(tmp_path, monkeypatch, PARSER.format(f"raise {error}")) as pool:
        reply = pool.compare("$1$", "$1$", 60.0)
    assert (reply.correct, reply.reason, reply.detail) == (False, "unverifiable", error)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux limits a process's address space")
def test_a_worker_cannot_take_more_memory_than_its_limit(tmp_path, monkeypatch):
    with stand_in(tmp_path, monkeypatch, PARSER.format("return bool(bytearray(4 * 2**30))")) as pool:
        reply = pool.compare("$1$", "$1$", 60.0)
    assert (reply.correct, reply.reason, reply.detail) == (False, "unverifiable", "MemoryError")


@pytest.mark.skipif(os.name != "posix", reason="there are no timers of this kind")
def test_a_worker_whose_parent_is_gone_ends_by_itself():
    worker = subprocess.Popen(
        [sys.executable, "-P", math_worker.__file__, str(2**31)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    worker.communicate(json.dumps({"gold": "$5$", "answer": "$10^{10^{10}}$", "timeout_s": 0.5}) + "\n", timeout=120)
    assert worker.returncode == -signal.SIGPROF


# --- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", 42),
        (" 42. ", 42),
        ("+42", 42),
        ("\N{MINUS SIGN}42", -42),
        ("- 42", -42),
        ("1,234,567", 1_234_567),
        ("0.5", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("3/4", Fraction(3, 4)),
        ("-3 / 4", Fraction(-3, 4)),
        ("1.5e3", 1500),
        ("2E-2", Fraction(1, 50)),
        ("$42$", 42),
        (r"\(42\)", 42),
        (r"$\boxed{42}$.", 42),
        ("**42**", 42),
        ("**42.**", 42),
    ],
)
def test_a_number_is_read_however_it_is_marked(text, value):
    assert parse_number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        ".",
        "e5",
        "4 2",
        "1,23",
        "12,34,567",
        "3/0",
        "0x1f",
        "42 apples",
        "x=42",
        "nan",
        "1_000",
        "1e9999",
        "9" * 101,
    ],
)
def test_anything_else_is_no_number(text):
    assert parse_number(text) is None
    assert grade_number("42", text) == Verdict(False, "unreadable")


@given(st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_without_tolerance_only_the_same_number_is_right(gold, answer):
    assert grade_number(str(gold), f"{answer:,}").correct == (gold == answer)


@pytest.mark.parametrize(("answer", "correct"), [("101", True), ("99", True), ("101.01", False), ("-100", False)])
def test_a_tolerance_is_relative_to_the_gold_answer(answer, correct):
    assert grade_number("100", answer, tolerance=0.01).correct is correct


def test_a_gold_answer_that_is_no_number_is_an_error():
    with pytest.raises(ValueError, match="'many' is not a number"):
        grade_number("many", "4")


# --- choices and texts


@pytest.mark.parametrize(
    "text", ["B", " B ", "b", "B.", "B:", "B)", "(B)", "( B )", "(B).", "**B**", "**B.**", "**(B)**", "** B **\n"]
)
def test_a_letter_is_read_through_what_is_harmless(text):
    assert parse_choice(text, ("A", "B", "C")) == "B"
    assert grade_choice("B", text, ("A", "B", "C")).correct
    assert grade_choice("A", text, ("A", "B", "C")) == Verdict(False, "different")


@pytest.mark.parametrize(
    "text", ["", "D", "AB", "A B", "A or B", "A, B", "B. Paris", "not B", "(A)(B)", "A||B", "1", "(B"]
)
def test_anything_else_is_no_choice(text):
    assert parse_choice(text, ("A", "B", "C")) is None
    assert grade_choice("B", text, ("A", "B", "C")) == Verdict(False, "unreadable")


@given(st.text(max_size=20))
def test_a_text_is_equal_to_itself_whatever_its_spaces_and_case(text):
    assert grade_text(text, f"  {text}\n").correct
    assert (
        grade_text(text.lower(), text.lower().upper().lower()).correct or text.lower().upper().lower() != text.lower()
    )


def test_a_different_text_is_wrong():
    assert grade_text("New York", "new  york").correct
    assert grade_text("New York", "York") == Verdict(False, "different")
