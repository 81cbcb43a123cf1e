"""A run of seconds: the tiny preset, two games in one trajectory, a warm-up of two updates and four steps.

`here` performs it in this process, as the single rank of a launcher, so that torch is imported once for all tests.
`command` starts `gift run`, for what only processes can show.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from gift_dsl import api
from gift_dsl.artifacts.lines import read_lines

SPEC = """\
gift: 1
name: small
seed: 3
model: {source: tiny, gradient_checkpointing: false}
precision: fp32
games:
  arithmetic: {type: arithmetic, generate: {low: 0, high: 3}, prompt: {wording: compact}}
  tictactoe: {type: tictactoe, opponents: random, prompt: {wording: compact}}
  chain: {all_of: [arithmetic, tictactoe]}
rollout: {max_tokens_per_turn: 6}
stages:
  - {name: warmup, type: sft, play: chain, data: {scripted: {episodes: 64}}, sft: {learning_rate: 0.01}}
  - {name: nested, type: grpo, play: chain, until: {steps: 4}}
algorithm: {keep: 1.0, groups_per_step: 2, group_size: 4, mini_batch_size: 4, learning_rate: 0.001}
resources: {micro_batch_size: 4, threads: 1}
output: {save_every: 1, keep_checkpoints: 2}
evaluation:
  sampling: {temperature: 1.0, max_tokens: 6}
  probe: {every: 2, rounds: 8}
  final: {rounds: 8, checkpoints: [final, 1, best]}
"""
TIMES = ("wall_s", "tokens_per_s", "time/")
"""Names of metrics, or their beginnings, that no two runs share."""


@dataclass
class Told:
    """What a run says, line by line."""

    lines: list[str] = field(default_factory=list)

    def __call__(self, line):
        self.lines.append(line)

    def __str__(self):
        return "\n".join(self.lines)


def here(folder, text=SPEC, mode="new", sets=(), told=None):
    """How a run in this process ended; raises what it raises."""
    path = Path(folder) / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    before = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE")}
    os.environ.update(RANK="0", WORLD_SIZE="1")
    try:
        options = api.RunOptions(sets=tuple(sets), mode=mode, tell=told or Told())
        (outcome,) = api.run(str(path), None, options)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    return outcome


def command(folder, *words, text=SPEC, environment=None, **options):
    """`gift run` on a spec in a folder, started."""
    path = Path(folder) / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "gift_dsl", "run", str(path), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **(environment or {})},
        **options,
    )


def metrics(run):
    """Lines of metrics.jsonl, without what is measured in seconds."""
    return [
        {key: value for key, value in line.items() if not key.startswith(TIMES)} for line in read_lines(run.metrics)
    ]


def steps(run):
    """(stage, step) of each line of metrics.jsonl."""
    return [(line["stage"], line["step"]) for line in read_lines(run.metrics)]


def shards(run):
    """Every line of every shard, by its place."""
    found = {}
    for path in sorted(run.trajectories.rglob("*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as opened:
            found[path.relative_to(run.trajectories).as_posix()] = [json.loads(line) for line in opened]
    return found


def weights(folder):
    """Bytes of a model."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.safetensors"))}


def evaluations(run):
    """What was measured."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(run.evaluation.glob("*.json"))}


def assert_same(run, other):
    """Two runs did the same, bit by bit."""
    assert metrics(run) == metrics(other)
    assert shards(run) == shards(other)
    assert evaluations(run) == evaluations(other)
    for stage in run.plan.stages:
        assert weights(run.stages / stage.name) == weights(other.stages / stage.name)
