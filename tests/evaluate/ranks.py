"""One of several processes that evaluate together: `python -m tests.evaluate.ranks RANK SIZE FOLDER STORE`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import torch
import torch.distributed

from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.harness import Share
from gift_dsl.evaluate.judge import StandInJudge
from tests.evaluate.words import make_engine


def request_for(folder, name, share=None):
    """The rows of `write_rows`, the result in a folder of this name."""
    return BenchmarksRequest(
        ({"type": "mmlu", "data_dir": "mmlu"}, {"type": "commongen", "data_dir": "commongen", "judge": "j"}),
        seed=1,
        folder=folder,
        output=folder / name,
        max_tokens=12,
        judges={"j": StandInJudge()},
        share=share,
    )


def main(rank, size, folder, store):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)

    def gather(value):
        values = [None] * size
        torch.distributed.all_gather_object(values, value)
        return values

    asyncio.run(evaluate_benchmarks(make_engine(), request_for(folder, "together", Share(rank, size, gather))))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
