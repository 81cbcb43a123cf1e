"""What a person sees of a stage: time and terminal are given, so that every word of it can be asked for."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gift_dsl.records import StepRecord
from gift_dsl.run.progress import StageProgress, duration, step_text
from tests.run.small import SPEC, Told, here, steps

PLAYED = {
    "loss": 0.125,
    "return": 0.5,
    "game/tictactoe/success": 0.25,
    "game/tictactoe/draw": 0.75,
    "game/matrix/success": 1.0,
    "tokens_per_s": 1234.5,
}


class Screen:
    """A console of which everything is known: what it shows, how wide it is, and its time in seconds."""

    def __init__(self, *, is_terminal):
        self.now = 100.0
        self.shown = io.StringIO()
        self.console = Console(
            file=self.shown,
            force_terminal=is_terminal,
            width=160,
            color_system=None,
            highlight=False,
            get_time=lambda: self.now,
            _environ={},
        )

    @property
    def lines(self):
        """What was written, without what moves the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown.getvalue()).replace("\r", "\n").split("\n")


def progress_on(screen, total=4, done=0, shown=True):
    return StageProgress("nested", total, done, shown=shown, console=screen.console)


def step(progress, number, metrics=PLAYED):
    progress.step(StepRecord("nested", number, metrics))


# ── a plain line a step ──


def test_a_plain_line_has_the_step_return_success_of_each_game_speed_and_time_left():
    screen = Screen(is_terminal=False)
    progress = progress_on(screen)
    screen.now += 60  # is measured, and is no step
    progress.begin(4)
    screen.now += 10
    step(progress, 0)
    assert screen.lines == ["nested 1/4  return 0.500  tictactoe 0.25  matrix 1.00  1,234 tok/s  0:30 left", ""]


def test_the_time_left_is_that_of_the_steps_of_this_session():
    screen = Screen(is_terminal=False)
    progress = progress_on(screen, total=100, done=50)
    progress.begin(100)
    screen.now += 90
    step(progress, 50)
    screen.now += 30
    step(progress, 51)
    *_, first, second, _ = screen.lines
    assert first.endswith("  1:13:30 left"), "49 of 90 s"
    assert second.endswith("  48:00 left"), "48 of 60 s"
    assert second.startswith("nested 52/100  ")


def test_nothing_is_left_after_the_last_step():
    screen = Screen(is_terminal=False)
    progress = progress_on(screen, total=1)
    progress.begin(1)
    screen.now += 10
    step(progress, 0)
    assert "left" not in screen.shown.getvalue()


def test_what_the_data_of_a_stage_says_of_its_length_counts_from_then_on():
    screen = Screen(is_terminal=False)
    progress = progress_on(screen, total=0)
    progress.begin(8)
    screen.now += 2
    step(progress, 0, {"loss": 2.5})
    assert screen.lines[0] == "nested 1/8  loss 2.500  0:14 left"


def test_a_note_stands_on_its_own_line():
    screen = Screen(is_terminal=False)
    progress_on(screen).note("probe [dev]")
    assert screen.lines == ["probe [dev]", ""]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_other_processes_show_nothing(is_terminal):
    screen = Screen(is_terminal=is_terminal)
    progress = progress_on(screen, shown=False)
    progress.begin(4)
    step(progress, 0)
    progress.note("probe")
    progress.close()
    assert screen.shown.getvalue() == ""


# ── a bar ──


def bar(screen):
    """The last state of the bar."""
    return [line.rstrip() for line in screen.lines if line.startswith("nested ")][-1]


def test_a_terminal_has_a_bar_with_the_same_words():
    screen = Screen(is_terminal=True)
    progress = progress_on(screen)
    progress.begin(4)
    screen.now += 10
    step(progress, 0)
    screen.now += 10
    step(progress, 1, {**PLAYED, "return": 0.75})
    progress.note("probe [dev]")
    progress.close()
    full, rest = "━" * 12, "━" * 12
    assert bar(screen).split(maxsplit=2)[0] == "nested"
    assert bar(screen).endswith("2/4 return 0.750  tictactoe 0.25  matrix 1.00  1,234 tok/s  0:20 left")
    assert full in bar(screen) or rest in bar(screen)
    assert "probe [dev]" in [line.rstrip() for line in screen.lines]


def filled(line):
    """The share of a bar that is full, as rich draws it without colours: `━` full, `╸` half, then blanks."""
    drawn = re.search(r"nested ([━╸╺ ]{24})", line)[1]
    return drawn.count("━") / 24


def test_the_bar_is_as_full_as_the_stage_is_done():
    screen = Screen(is_terminal=True)
    progress = progress_on(screen, total=4, done=1)
    progress.close()
    assert filled(bar(screen)) == 0.25
    assert " 1/4" in bar(screen)
    screen = Screen(is_terminal=True)
    progress = progress_on(screen, total=4, done=1)
    step(progress, 2)
    progress.close()
    assert filled(bar(screen)) == 0.75


def test_a_stage_of_unknown_length_has_its_bar_once_its_data_is_read():
    screen = Screen(is_terminal=True)
    progress = progress_on(screen, total=0)
    progress.note("before")
    assert screen.lines == ["before", ""]
    progress.begin(8)
    screen.now += 2
    step(progress, 0, {"loss": 2.5})
    progress.close()
    assert bar(screen).endswith("1/8 loss 2.500  0:14 left")


def test_a_length_that_turns_out_smaller_is_that_of_the_bar():
    screen = Screen(is_terminal=True)
    progress = progress_on(screen, total=8)
    progress.begin(2)
    step(progress, 0)
    progress.close()
    assert " 1/2 " in bar(screen)
    assert filled(bar(screen)) == 0.5


def test_a_bar_leaves_the_terminal_as_it_was():
    screen = Screen(is_terminal=True)
    progress = progress_on(screen)
    assert "\x1b[?25l" in screen.shown.getvalue(), "the cursor is hidden"
    progress.close()
    progress.close()
    assert screen.shown.getvalue().count("\x1b[?25h") == 1


# ── words ──


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (PLAYED, "return 0.500  tictactoe 0.25  matrix 1.00  1,234 tok/s"),
        ({"loss": 2.5}, "loss 2.500"),
        ({"return": -0.1, "tokens_per_s": 0.0}, "return -0.100"),
        ({}, ""),
    ],
)
def test_a_step_in_a_line(metrics, said):
    assert step_text(metrics) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0:00"), (-1, "0:00"), (59.4, "0:59"), (59.6, "1:00"), (61, "1:01"), (3599.4, "59:59"), (3723, "1:02:03")],
)
def test_a_duration(seconds, said):
    assert duration(seconds) == said


# ── stages that learn from recordings ──

RECORDED = (
    SPEC.partition("stages:")[0].replace("name: small", "name: recorded")
    + "stages: [{name: imitate, type: TYPE, play: chain, epochs: 2, data: {runs: [RUN]}, TYPE: {batch_size: 12}}]\n"
    "resources: {micro_batch_size: 4, threads: 1}\n"
)


@pytest.mark.parametrize("kind", ["sft", "glow"])
def test_a_stage_on_recordings_shows_how_far_it_is_and_how_long_it_takes(tmp_path, finished, capsys, kind):
    told = Told()
    text = RECORDED.replace("RUN", str(finished.run.path)).replace("TYPE", kind)
    outcome = here(tmp_path, text, told=told)
    assert outcome.exit_code == 0
    assert f"stage imitate ({kind}), as many steps as its recordings give" in told.lines
    number = len(steps(outcome.run))
    assert number == 6, "two epochs of 32 episodes, 12 in a step"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("imitate ")]
    assert [line.split()[1] for line in lines] == [f"{done}/{number}" for done in range(1, number + 1)]
    assert all(re.search(r"loss \d+\.\d{3}  \d+:\d\d left$", line) for line in lines[:-1])
