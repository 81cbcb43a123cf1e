# pyright: basic
"""Mirrors of metrics.jsonl by accelerate: tensorboard, trackio, wandb. Everything stays in the run's directory.

wandb is told to stay offline; `wandb sync` uploads what it wrote, if its user wants to. trackio keeps its database
where `TRACKIO_DIR` says when it is first imported, else below ~/.cache/huggingface.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import Any

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.plan import Plan, to_json


def missing_trackers(plan: Plan) -> Iterator[str]:
    """Trackers that the plan names and this machine does not have."""
    for name in plan.runtime.trackers:
        if importlib.util.find_spec(name) is None:
            yield f"the tracker `{name}` is not installed: `pip install {name}`, or take it out of `trackers`"


class Trackers:
    """Those of a plan, in one process.

    Args:
        run: where they write.
        plan: of the run.
    """

    def __init__(self, run: RunDirectory, plan: Plan) -> None:
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        folder = run.path / "trackers"
        if plan.runtime.trackers:
            folder.mkdir(exist_ok=True)
            os.environ["TRACKIO_DIR"] = str(folder)
        self._trackers: list[Any] = []
        known: Mapping[str, Any] = {str(getattr(key, "value", key)): kind for key, kind in LOGGER_TYPE_TO_CLASS.items()}
        for name in plan.runtime.trackers:
            tracker: Any = known[name](plan.runtime.name, **_options(name, run, str(folder)))
            tracker.start()
            tracker.store_init_configuration({"seed": plan.seed, "spec_hash": plan.spec_hash})
            self._trackers.append(tracker)

    def log(self, line: Mapping[str, Any], number: int) -> None:
        """The numbers of one step.

        Args:
            line: as in metrics.jsonl.
            number: of the line in the file, so that stages follow each other.
        """
        numbers = {key: float(value) for key, value in to_json(line).items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.log(numbers, step=number)

    def close(self) -> None:
        """Write what is left."""
        for tracker in self._trackers:
            tracker.finish()


def _options(name: str, run: RunDirectory, folder: str) -> dict[str, Any]:
    """All sessions and stages of a run are one run of the tracker."""
    if name == "tensorboard":
        return {"logging_dir": folder}
    if name == "wandb":
        return {"mode": "offline", "dir": folder, "id": run.path.name, "name": run.path.name, "resume": "allow"}
    return {"name": run.path.name, "resume": "allow"}
