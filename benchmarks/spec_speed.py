"""What checking a spec costs: CPU of cold commands beside an empty Python, and specs per second in one process.

    python benchmarks/spec_speed.py [SPEC] [--runs 15]

Times are CPU seconds (user and system) of child processes, the least of several runs, because other work on the
machine only ever adds to them (on shared cores it adds to every run, so that a busy machine has no quiet least);
ratios to an empty `python -c pass` of the same run compare machines.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence


def child_cpu_ms(command: Sequence[str], runs: int) -> float:
    """Least CPU time of a command in milliseconds, bytecode already compiled."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    least = float("inf")
    for _ in range(runs + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env=env)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        least = min(least, 1000 * spent)
    return least


def warm_specs_per_second(spec: str, seconds: float) -> float:
    """Specs checked (not planned) per CPU second in this process: the best of rounds of ten."""
    from gift_dsl import api

    with open(spec, encoding="utf-8") as file:  # noqa: PTH123  # a benchmark may be plain
        text = file.read()
    api.check_spec(spec, text, plan=False)
    end, least = time.process_time() + seconds, float("inf")
    while time.process_time() < end:
        start = time.process_time()
        for _ in range(10):
            api.check_spec(spec, text, plan=False)
        least = min(least, (time.process_time() - start) / 10)
    return 1 / least


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("spec", nargs="?", default="specs/nested_all.yaml")
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    python = sys.executable
    commands = {
        "`python -c pass`": [python, "-c", "pass"],
        "`gift --help`": [python, "-m", "gift_dsl", "--help"],
        f"`gift validate {options.spec}`": [python, "-m", "gift_dsl", "validate", options.spec],
        f"`gift plan {options.spec}`": [python, "-m", "gift_dsl", "plan", options.spec],
    }
    times = {name: child_cpu_ms(command, options.runs) for name, command in commands.items()}
    empty = next(iter(times.values()))
    print("| command | CPU ms (least) | times an empty Python |\n|---|---|---|")
    for name, spent in times.items():
        print(f"| {name} | {spent:.0f} | {spent / empty:.1f} |")
    print(f"\nwarm: {warm_specs_per_second(options.spec, 3.0):.0f} specs per CPU second")


if __name__ == "__main__":
    main()
