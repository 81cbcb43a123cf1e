"""What each process of tests/train/test_processes.py does: trains the same stage, and writes down what it saw."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

from tests.train.staged import Log, Recorded, Watched, engine_of, plan_of, recorded_plan, schooled, train

torch.set_num_threads(1)


class Failing(Recorded):
    """One process fails in the second step."""

    def __call__(self, playing, state, keys, walks, clock):
        if keys.step == 1 and int(os.environ.get("RANK", "0")) == 1:
            raise ValueError("a bug")
        return super().__call__(playing, state, keys, walks, clock)


def recorded():
    return recorded_plan(
        kept=4,
        groups_per_step=4,
        steps=3,
        micro=2,
        mini=8,
        rows=2,
        loss="token",
        epochs=2,
        kl_coef=0.2,
        entropy_coef=0.1,
        dynamic_sampling=True,
        max_refills=2,
        baseline="role",
    )


def played():
    return plan_of("stages[nested].until.steps=1", "resources.micro_batch_size=4", "algorithm.groups_per_step=8")


def run(what, folder, rank, processes):
    with pytest.MonkeyPatch.context() as patch:
        if what == "played":
            plan, watched, engine = played(), Watched(patch), engine_of(schooled())
        else:
            plan = recorded()
            make = Failing if what == "failing" else Recorded
            watched, engine = Watched(patch, make(plan, context="fresh", dead=(1, 4))), engine_of()
        log = Log()
        try:
            train(plan, folder / "stage", engine, log, rank=rank, processes=processes)
        except Exception as error:  # noqa: BLE001 - what it is, is what the test asks for
            return {"error": f"{type(error).__name__}: {error}"}
        groups = [[repr(group) for group in each] for each in log.groups]
        weights = {name: tensor.tolist() for name, tensor in engine.model.state_dict().items()}
        checkpoints = [folder.name for folder, _ in log.checkpoints]
        state = watched.trainer.train_state.to_json()
        return {
            "losses": watched.losses,
            "metrics": log.metrics,
            "ids": [[group.id for group in each] for each in log.groups],
            "groups": groups,
            "weights": weights,
            "checkpoints": checkpoints,
            "state": state,
        }


if __name__ == "__main__":
    rank = int(os.environ["RANK"])
    found = run(sys.argv[1], Path(sys.argv[2]), rank, int(os.environ["WORLD_SIZE"]))
    (Path(sys.argv[2]) / f"rank-{rank}.json").write_text(json.dumps(found))
