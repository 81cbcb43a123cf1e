"""How a process of several ends: in order, but before Python is taken apart, which not every thread survives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# What is said while Python is taken apart, by a thread that still runs, and by an exit handler.
TELLING = """
import atexit, os, sys, threading, time

class Kept:
    write = os.write
    def __del__(self):
        self.write(1, b"taken apart\\n")

def late():
    time.sleep(0.2)
    os.write(1, b"thread\\n")

kept = Kept()
atexit.register(lambda: os.write(1, b"handler\\n"))
threading.Thread(target=late).start()
"""
BY_HAND = TELLING + "from gift_dsl.run.processes import end\nprint('said')\nend(3)"
BY_COMMAND = TELLING + "from gift_dsl.cli import main\nsys.argv[1:] = ['nothing']\nmain()"


def ended(code, **environment):
    """Of a process that runs this: its exit code, and what was said."""
    kept = {name: value for name, value in os.environ.items() if name != "RANK"}
    environment = {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return done.returncode, {*done.stdout.splitlines()}


def test_threads_and_exit_handlers_have_their_turn_and_what_was_said_is_written():
    assert ended(BY_HAND) == (3, {"thread", "handler", "said"})


@pytest.mark.parametrize(("environment", "last"), [({}, {"taken apart"}), ({"RANK": "0"}, set())])
def test_a_rank_of_a_launcher_ends_so_with_the_exit_code_of_its_command(environment, last):
    assert ended(BY_COMMAND, **environment) == (2, {"thread", "handler"} | last)
