# pyright: basic
"""One process of one stage: `python -m gift_dsl.run.worker RUN STAGE`, started by `gift_dsl.run.drive`.

It ends with 0 when the stage is done, with STOPPED when it was asked to stop and has saved, else with the exit code of
what went wrong. When the process that started it dies, it ends at once: its last checkpoint counts.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Final

STOPPED: Final = 75
"""Exit code of a process that saved and can go on (EX_TEMPFAIL)."""
FINAL: Final = "final"
"""In place of a stage: the final evaluation."""


def main(arguments: list[str]) -> int:
    """Work through one stage."""
    path, what = arguments
    faulthandler.enable()
    stop: list[str] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: stop.append(signal.Signals(got).name))
    if os.environ.get("GIFT_PARENT_PIPE"):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    quieten()
    from gift_dsl.artifacts.directory import open_run
    from gift_dsl.errors import GiftError

    run = open_run(Path(path))
    try:
        reason = _work(run, what, stop)
    except GiftError as error:
        _tell(run, f"gift: {error}")
        return error.exit_code
    if reason is None:
        return 0
    _tell(run, f"gift: stopped: {reason}")
    return STOPPED


def quieten() -> None:
    """Libraries neither call home nor print bars; what they deprecate is for us to know, not for users."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _work(run: Any, what: str, stop: list[str]) -> str | None:
    from gift_dsl.run.stage import open_session, run_stage

    session = open_session(run, stop)
    try:
        if what == FINAL:
            from gift_dsl.run.final import run_final

            run_final(session)
            return None
        return run_stage(session, int(what))
    finally:
        session.state.destroy_process_group()


def _tell(run: Any, text: str) -> None:
    """On stderr and in the run's log; by one process."""
    if os.environ.get("RANK", "0") == "0":
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        with run.log.open("a", encoding="utf-8") as log:
            log.write(f"{text}\n")


def _end_with_parent() -> None:
    """The other end of standard input is closed when the parent dies, however it dies."""
    while os.read(sys.stdin.fileno(), 1):  # not through its buffer, whose lock would outlive the interpreter
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
