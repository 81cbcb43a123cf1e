"""What each process of tests/train/test_sharding.py does: trains stages whose weights are spread, one after the other.

Started with one process, the weights of the same stages are not spread.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState

from gift_dsl.engines.frozen import frozen_copy
from gift_dsl.engines.load import adapt
from gift_dsl.plan import LoraPlan
from gift_dsl.train.sharding import Spread, needs_copy, sharding_of
from tests.train.staged import Log, Recorded, Watched, engine_of, recorded_plan, train

torch.set_num_threads(1)
RANK, PROCESSES = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
LORA = LoraPlan(rank=4, alpha=8.0, dropout=0.0, target_modules=("q_proj", "v_proj"))


def plan_with(sharding, *, model=None, **changes):
    """Two steps of two updates on recorded groups."""
    options = {
        "kept": 4,
        "groups_per_step": 4,
        "steps": 2,
        "micro": 2,
        "mini": 8,
        "rows": 2,
        "loss": "token",
        **changes,
    }
    plan = recorded_plan(**options)
    resources = {**plan.runtime.resources, "sharding": sharding, "processes": PROCESSES}
    return replace(
        plan,
        model=replace(plan.model, **(model or {})),
        runtime=replace(plan.runtime, resources=resources),
    )


@contextmanager
def alone():
    """One training after another in one process, as the ranks of a launcher have them."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        AcceleratorState._reset_state()
        GradientState._reset_state()


def trained(plan, folder, start=None, stop_after=None, **options):
    """What was seen of a stage, and its last checkpoint."""
    with alone(), pytest.MonkeyPatch.context() as patch:
        watched = Watched(patch, Recorded(plan, context="fresh", dead=(1,)))
        engine = engine_of(start)
        model = engine.model if plan.model.lora is None else adapt(engine.model, plan.model.lora, 7)
        engine = engine.sibling(model)
        spread = Spread(model, engine, is_first=RANK == 0) if sharding_of(plan) == "zero2" else None
        if needs_copy(plan):
            copy = engine_of(start).model
            copy = copy.to(torch.bfloat16) if plan.model.compute == "bf16" else copy
            copy = copy if plan.model.lora is None else adapt(copy, plan.model.lora, 7)
            spread = Spread(model, engine.sibling(copy), is_first=RANK == 0)
            engine = spread.engine
        log = Log(stop_after=stop_after)
        train(plan, folder, engine, log, rank=RANK, processes=PROCESSES, spread=spread, **options)
        handed_on = model if spread is None else spread.whole_model()
        if spread is not None:
            spread.give()
        checkpoint = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
        return {
            "kind": sharding_of(plan),
            "losses": watched.losses,
            "norms": watched.norms,
            "checkpoint": str(checkpoint),
            "plays": weights_of(frozen_copy(engine.model)),
            "handed_on": None if RANK else weights_of(frozen_copy(handed_on)),
            "local": sum(getattr(one, "_local_tensor", one).numel() for one in watched.trainer.model.parameters()),
            "whole": sum(one.numel() for one in watched.trainer.model.parameters()),
            "moments": moments(checkpoint),
        }


def weights_of(model):
    return {name: tensor.tolist() for name, tensor in model.state_dict().items()}


def moments(checkpoint):
    """Digest of each first moment of Adam, in the order of the weights."""
    if not (checkpoint / "optimizer.pt").exists():  # DeepSpeed has files of its own
        return []
    state = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    return [hashlib.sha256(each["exp_avg"].numpy().tobytes()).hexdigest() for each in state.values()]


def everything(folder, kind):
    """By name, what was seen of each stage."""
    whole = plan_with(kind, kl_coef=0.2, entropy_coef=0.1)
    found = {"whole": trained(whole, folder / "whole")}
    stopped = trained(whole, folder / "stopped", stop_after=1)
    found["resumed"] = trained(whole, folder / "stopped", resume_from=Path(stopped["checkpoint"]))
    found["lora"] = trained(plan_with(kind, model={"lora": LORA}, kl_coef=0.2), folder / "lora")
    found["bf16"] = trained(plan_with(kind, model={"compute": "bf16"}), folder / "bf16")
    if kind.startswith("zero"):
        return found
    recomputing = plan_with(kind, kl_coef=0.2, entropy_coef=0.1, model={"gradient_checkpointing": True})
    found["recomputing"] = trained(recomputing, folder / "recomputing")
    carrying = plan_with(kind, steps=1)
    carrying = replace(carrying, stages=(*carrying.stages[:-1], replace(carrying.stages[-1], optimizer="carry")))
    found["carried"] = trained(carrying, folder / "carried", carry_from=Path(found["whole"]["checkpoint"]))
    return found


if __name__ == "__main__":
    place = Path(sys.argv[2])
    (place / f"rank-{RANK}.json").write_text(json.dumps(everything(place, sys.argv[1])))
