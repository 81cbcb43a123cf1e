"""What a person sees of a stage: time and terminal are given, so that every word of it can be asked for."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from gift_dsl.records import StepRecord
from gift_dsl.run.progress import StageProgress
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


def test_what_the_data_of_a_stage_says_of_its_length_counts_from_then_on():
    screen = Screen(is_terminal=False)
    progress = progress_on(screen, total=0)
    progress.begin(8)
    screen.now += 2
    step(progress, 0, {"loss": 2.5})
    assert screen.lines[0] == "nested 1/8  loss 2.500  0:14 left"


# ── a bar ──


def bar(screen):
    """The last state of the bar."""
    return [line.rstrip() for line in screen.lines if line.startswith("nested ")][-1]


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


# ── words ──


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
