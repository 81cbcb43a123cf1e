"""What a person sees while a run goes on: a bar on a terminal, one plain line a step otherwise. All on stderr."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gift_dsl.records import StepRecord


class StageProgress:
    """The steps of one stage.

    Args:
        stage: its name.
        total: steps at most; 0 for a work without steps, or one whose steps are not known yet: it has no bar.
        done: steps that were done before this session.
        shown: False on every process but one.
        console: where it is shown, and what time it is there.
    """

    def __init__(
        self, stage: str, total: int, done: int, *, shown: bool = True, console: Console | None = None
    ) -> None:
        self._stage, self._total, self._shown = stage, total, shown
        self._console = console or Console(stderr=True, highlight=False)
        self._first, self._started = done, self._console.get_time()
        self._bar: Progress | None = None
        self._show_bar()

    def begin(self, total: int) -> None:
        """Training begins: the stage has so many steps at most, and from now on they take time."""
        self._total, self._started = total, self._console.get_time()
        if self._bar is None:
            self._show_bar()
        else:
            self._bar.update(self._task, total=total)

    def step(self, record: StepRecord) -> None:
        """A step is over."""
        if not self._shown:
            return
        said = f"{step_text(record.metrics)}  {self._left(record.step + 1)}"
        if self._bar is not None:
            self._bar.update(self._task, completed=record.step + 1, said=said)
        else:
            self._write(f"{self._stage} {record.step + 1}/{self._total}  {said}")

    def note(self, text: str) -> None:
        """Something that is no step."""
        if not self._shown:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            self._write(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show_bar(self) -> None:
        if not (self._shown and self._total and self._console.is_terminal):
            return
        columns = (TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.completed}/{task.total}"))
        self._bar = Progress(*columns, TextColumn("{task.fields[said]}"), console=self._console)
        self._task = self._bar.add_task(self._stage, total=self._total, completed=self._first, said="")
        self._bar.start()

    def _write(self, line: str) -> None:
        """As it is: a console would break it where its terminal ends."""
        self._console.file.write(f"{line}\n")
        self._console.file.flush()

    def _left(self, done: int) -> str:
        """Time until the last step, at the speed of this session's steps."""
        steps = done - self._first
        if steps < 1 or done >= self._total:
            return ""
        return f"{duration((self._console.get_time() - self._started) / steps * (self._total - done))} left"


def step_text(metrics: Mapping[str, Any]) -> str:
    """One line of what matters: return or loss, success of each game, speed."""
    words: list[str] = []
    if "return" in metrics:
        words.append(f"return {metrics['return']:.3f}")
    elif "loss" in metrics:
        words.append(f"loss {metrics['loss']:.3f}")
    ends = "/success"
    words += [
        f"{name.removeprefix('game/').removesuffix(ends)} {value:.2f}"
        for name, value in metrics.items()
        if name.startswith("game/") and name.endswith(ends)
    ]
    if metrics.get("tokens_per_s"):
        words.append(f"{metrics['tokens_per_s']:,.0f} tok/s")
    return "  ".join(words)


def duration(seconds: float) -> str:
    """As 1:02:03 or 2:03."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
