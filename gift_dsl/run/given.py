# pyright: basic
"""A run in processes that a launcher started (torchrun, accelerate launch): they perform all stages in turn.

Rank 0 prepares and records the run and tells the others what to do next. One process group serves all stages. When a
rank fails it ends, and its launcher ends the others: that is what launchers are for.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory, open_run
from gift_dsl.errors import UsageError
from gift_dsl.run.processes import AnotherEndedError, Signals, forget_settings, is_another_gone, quiet_environment
from gift_dsl.run.request import STOPPED, RunOutcome

_SHARDING: Final = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""What `accelerate launch` sets where it is told of FSDP or DeepSpeed."""
_OF_TORCHRUN: Final = "TORCHELASTIC_RUN_ID"
"""What torchrun sets, and `accelerate launch`, which uses it."""
_LOOK_S: Final = 0.5
"""Time between two looks whether the launcher lives."""


def is_given() -> bool:
    """Whether a launcher started this process as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def given_processes() -> int | None:
    """How many processes a launcher started; None without one."""
    return int(os.environ["WORLD_SIZE"]) if is_given() else None


def _end_group(state: Any) -> None:
    """At the very end: the runs of a sweep share it."""
    state.destroy_process_group()


def join_given() -> Any:
    """This process's place among those of a launcher, as accelerate knows it; the group is left at the very end.

    Raises:
        UsageError: the launcher was told how weights are shared, which the plan says.
    """
    told = [name for name in _SHARDING if os.environ.get(name, "false").lower() == "true"]
    if told:
        raise UsageError(
            f"the launcher was told to share the weights ({told[0]}=true); say it in the spec: `resources.sharding`"
        )
    forget_settings()
    os.environ.update(quiet_environment())
    with contextlib.suppress(OSError, ValueError):  # standard error may be something that is no file
        faulthandler.enable()  # as in processes of our own: a library that aborts says where
    from gift_dsl.run.stage import join_ranks

    state = join_ranks()
    if not state.is_main_process:  # what rank 0 prints is the output of all
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
    atexit.unregister(_end_group)
    atexit.register(_end_group, state)
    return state


def stay_apart() -> None:
    """Do not leave the group in order: the others may wait elsewhere, and their launcher ends them."""
    atexit.unregister(_end_group)


def _stop_without(launcher: int, signals: Signals) -> None:
    """Ask this process to stop, as a terminal that is closed does, when its launcher has died.

    torchrun dies of what it does not handle, SIGUSR1 and SIGKILL, and leaves its processes to themselves.
    """
    while os.getppid() == launcher:
        time.sleep(_LOOK_S)
    if not signals.got:  # a second signal would not let it save
        os.kill(os.getpid(), signal.SIGHUP)


class GivenRanks:
    """This process among those of a launcher.

    Args:
        signals: of this process.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals, self.state = signals, join_given()
        if _OF_TORCHRUN in os.environ:  # a launcher made by hand may be a shell that does not wait
            threading.Thread(target=_stop_without, args=(os.getppid(), signals), daemon=True).start()
        self._broken = False

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return bool(self.state.is_main_process)

    # ── rank 0 ──

    def perform(self, run: RunDirectory, what: str) -> int:
        """One stage, by all ranks."""
        self._told((str(run.path), what, 0))
        self._broken = True  # until it is known that the others do not wait in another exchange than that of `dismiss`
        code = self._perform(run, what)
        self._broken = code not in (0, STOPPED)
        if self._broken:
            stay_apart()
        return code

    def dismiss(self, run: RunDirectory | None, code: int) -> None:
        """Tell the others that there is nothing more to do."""
        if not self._broken:
            with contextlib.suppress(AnotherEndedError):  # whoever has ended needs not be told
                self._told((None if run is None else str(run.path), None, code))

    # ── the others ──

    def follow(self) -> RunOutcome:
        """Do what rank 0 says until it says that this was all."""
        while True:
            path, what, code = self._told(None)
            if what is None:
                return RunOutcome(None if path is None else open_run(Path(path)), code, None)
            code = self._perform(open_run(Path(path)), what)
            if code not in (0, STOPPED):
                stay_apart()
                raise SystemExit(code)

    def _told(self, message: Any) -> Any:
        from accelerate.utils import broadcast_object_list

        try:
            return broadcast_object_list([message])[0]
        except RuntimeError as error:
            if not is_another_gone(error):
                raise
            stay_apart()
            raise AnotherEndedError() from error

    def _perform(self, run: RunDirectory, what: str) -> int:
        import torch
        from accelerate.state import AcceleratorState, GradientState

        from gift_dsl.run.worker import perform, quieten

        quieten()
        before = dict(os.environ)  # trainers leave notes for accelerate in it
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return perform(run, what, self.signals.got)
        finally:
            os.environ.clear()
            os.environ.update(before)
            AcceleratorState._reset_state()
            GradientState._reset_state()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
