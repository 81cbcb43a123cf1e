"""Does the quickstart learn, and do its controls not? Three seeds, and two runs that must not rise.

python benchmarks/quickstart.py [--seeds 1 2 3] [--controls] [--set PATH=VALUE …]

Prints one row for each game and run: the rate before and after the nested stage on 500 dev games, with 95 % intervals,
the time of the whole run, and where the time of a step of the nested stage goes (medians over its steps). `up` means
that the intervals are disjoint.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTROLS = {
    "reward: shuffled": ["stages[nested].reward=shuffled"],
    "learning rate 0": ["algorithm.learning_rate=0.0"],
}


def run(name: str, sets: list[str], folder: Path) -> None:
    """One run, and its rows."""
    output = folder / name.replace(" ", "-").replace(":", "")
    words = [word for one in [*sets, f"output.dir={output}"] for word in ("--set", one)]
    started, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "gift_dsl", "run", str(ROOT / "specs" / "quickstart.yaml"), "--json", *words],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    wall_s = time.perf_counter() - started
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    summary = json.loads(done.stdout)
    nested = summary["stages"][-1]
    for kind in ("games", "chain"):
        for game, score in nested[kind].items():
            print(row(name, game if kind == "games" else f"{game}, in the chain", score), flush=True)
    print(f"| {name} | | {wall_s:.0f} s wall, {cpu_s:.0f} s CPU, load {os.getloadavg()[0]:.1f} | | |", flush=True)
    (metrics,) = output.glob("*/*/metrics.jsonl")
    print(f"| {name} | a step | {where_time_goes(metrics)} | | |", flush=True)


def where_time_goes(metrics: Path) -> str:
    """Medians over the steps of the nested stage, in milliseconds, and the environment's share of a step."""
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["stage"] == "nested"]
    names = ("generate", "opponents", "environment", "update", "step")
    parts = [f"{name} {1000 * statistics.median(one[f'time/{name}_s'] for one in steps):.0f}" for name in names]
    share = statistics.median(one["time/environment_s"] / one["time/step_s"] for one in steps)
    return f"{', '.join(parts)} ms; environment {share:.1%}"


def row(name: str, game: str, score: dict) -> str:
    """Before, after, and whether the intervals are disjoint."""
    before, after = score["before"], score["after"]
    up = (
        "up"
        if after["interval"][0] > before["interval"][1]
        else "down"
        if after["interval"][1] < before["interval"][0]
        else "-"
    )
    return f"| {name} | {game} | {cell(before)} | {cell(after)} | {up} |"


def cell(score: dict) -> str:
    """A rate and its interval."""
    low, high = score["interval"]
    return f"{score['rate']:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """All runs, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--set", dest="sets", action="append", default=[])
    parser.add_argument("--out", type=Path, help="keep the runs here")
    options = parser.parse_args()
    print("| run | game | before | after | |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as made:
        folder = (options.out or Path(made)).resolve()
        for seed in options.seeds:
            run(f"seed {seed}", [f"seed={seed}", *options.sets], folder)
        if options.controls:
            for name, sets in CONTROLS.items():
                run(name, [*sets, *options.sets], folder)


if __name__ == "__main__":
    main()
