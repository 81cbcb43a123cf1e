"""What the tests of the run directory write: a real plan, a run made of it, and groups that were really played."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.settings import shipped

QUICKSTART = shipped("specs") / "quickstart.yaml"


@cache
def quickstart(*sets):
    (plan,) = api.compile_spec(str(QUICKSTART), sets=sets)
    return plan


def make_run(output: Path, *sets, written=None):
    plan = quickstart(*sets)
    written = {"specs/quickstart.yaml": QUICKSTART.read_bytes()} if written is None else written
    return create_run(output, plan, written=written, resolved={"gift": 1}, lock=make_lock(plan, Machine(1, 1)))
