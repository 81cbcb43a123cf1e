# pyright: basic
"""One process of one stage: `python -m gift_dsl.run.worker RUN STAGE`, started by `gift_dsl.run.processes`.

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
import time
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.status import now
from gift_dsl.errors import GiftError, LimitReached, MachineError
from gift_dsl.run.processes import AnotherEndedError, end, is_another_gone
from gift_dsl.run.request import FINAL, STOPPED, Leave, Stop

_KNOWN: Final = (
    # peft 0.21 asks transformers 5.23 by the old name, with adapters and gradient checkpointing
    "`is_gradient_checkpointing` is deprecated",
)
"""Beginnings of warnings that change nothing for whoever runs a spec."""
_KNOWN_LOGGED: Final = {
    # the model's end of text is now that of the tokenizer, as the codec has it all along
    "transformers.trainer_utils": "The tokenizer has new PAD/BOS/EOS tokens",
}
"""The same, of what a logger says."""


def main(arguments: list[str]) -> int:
    """Work through one stage."""
    path, what = arguments
    began = time.monotonic()
    faulthandler.enable()
    stop = Stop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda got, _frame: stop.note(got))
    if os.environ.get("GIFT_PARENT_PIPE"):
        threading.Thread(target=end_with_parent, daemon=True).start()
    quieten()
    from gift_dsl.artifacts.directory import open_run

    run = open_run(Path(path))
    # Unset, accelerate would take a number of its own on several processes of a CPU.
    os.environ.setdefault("OMP_NUM_THREADS", str(run.lock["threads"]))
    return perform(run, what, stop, is_last=True, began=began)


def perform(run: Any, what: str, stop: Stop, *, is_last: bool = False, began: float | None = None) -> int:
    """Perform a stage or the final evaluation in this process, as one of its ranks; the code of its end.

    Args:
        run: held by the command.
        what: index of the stage, or FINAL.
        stop: filled by signals.
        is_last: this process does nothing afterwards.
        began: when it took up its work, on the monotonic clock; None: now.
    """
    began = time.monotonic() if began is None else began
    try:
        with run.join():
            reason = _work(run, what, stop, is_last, began)
    except Leave:
        reason = stop[0]
    except AnotherEndedError as error:
        _tell(run, f"gift: {error}")
        if run.status.reason is None:  # of whoever has ended
            _write_reason(run, str(error))
        return error.exit_code
    except LimitReached as error:
        reason = str(error)
    except GiftError as error:
        _tell(run, f"gift: {error}")
        _set_reason(run, str(error))
        return error.exit_code
    except Exception as error:
        _note_crash(run, error)
        raise
    if reason is None:
        return 0
    _set_reason(run, reason)
    return STOPPED


def quieten() -> None:
    """Libraries print no bars, nor what is for us to know and not for users.

    Each message by its own words, as it was met in a run: what is not listed is shown.
    """
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    for words in _KNOWN:
        warnings.filterwarnings("ignore", message=words)
    for name, words in _KNOWN_LOGGED.items():
        logging.getLogger(name).addFilter(lambda record, words=words: not record.getMessage().startswith(words))
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()


def _work(run: Any, what: str, stop: Stop, is_last: bool, began: float) -> str | None:
    from gift_dsl.run.stage import open_session, run_stage

    session = open_session(run, stop, began)
    try:
        if what == FINAL:
            from gift_dsl.run.final import run_final

            with session.leaving():
                run_final(session)
            return None
        return run_stage(session, int(what))
    except LimitReached:
        raise
    except GiftError:
        session.ask_again()
        raise
    except Exception as error:
        explained = _explained(run, error)
        if explained is None:
            raise
        raise explained from error
    finally:
        session.close()
        if is_last:
            session.state.destroy_process_group()


def _explained(run: Any, error: Exception) -> GiftError | None:
    """What an error of a library means that is no bug; None where it is one."""
    if is_another_gone(error):
        return AnotherEndedError()
    if is_disk_full(error):
        return MachineError(
            f"the disk is full: {run.path} could not be written ({error}). What was complete before is kept; free "
            "some space and resume the run"
        )
    return None


def is_disk_full(error: BaseException) -> bool:
    """Whether a library's error while it saved means that there was no space left, by the words that each has for it.

    Measured on a full tmpfs: safetensors 0.8 says "No space left on device (os error 28)", and torch 2.13, which looks
    at nothing but how far it came, "unexpected pos 576 vs 534".
    """
    import errno

    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    text = str(error)
    return "No space left on device" in text or ("inline_container" in text and "unexpected pos" in text)


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _tell(run: Any, text: str) -> None:
    """On stderr and in the run's log; by one process."""
    if _is_first():
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
        _log(run, f"{text}\n")


def _log(run: Any, text: str) -> None:
    with suppress(OSError), run.log.open("a", encoding="utf-8") as log:  # what is told may be that the disk is full
        log.write(text)


def _note_crash(run: Any, error: Exception) -> None:
    """A bug: its traceback in the run's log, its words in the status; by whichever process met it."""
    import traceback

    said = "".join(traceback.format_exception(error))
    _log(run, f"rank {os.environ.get('RANK', '0')}, {now()}\n{said}")
    _write_reason(run, f"{type(error).__name__}: {error}".splitlines()[0])


def _set_reason(run: Any, reason: str) -> None:
    """Why this is not the end, for whoever writes the status next."""
    if _is_first():
        _write_reason(run, reason)


def _write_reason(run: Any, reason: str) -> None:
    with suppress(MachineError):  # of a full disk
        run.set_status(replace(run.status, reason=reason))


def end_with_parent() -> None:
    """The other end of standard input is closed when the parent dies, however it dies."""
    while os.read(sys.stdin.fileno(), 1):  # not through its buffer, whose lock would outlive the interpreter
        pass
    os._exit(1)


if __name__ == "__main__":
    end(main(sys.argv[1:]))
