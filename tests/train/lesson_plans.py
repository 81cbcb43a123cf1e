"""Small supervised stages: a plan, its tiny model and the job of one process."""

from __future__ import annotations

from dataclasses import replace

import torch

from gift_dsl.api import compile_spec
from gift_dsl.engines.load import load_policy, load_tokenizer
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.plan import leaves
from gift_dsl.play.seats import table_game
from gift_dsl.players.make import Services, make_player
from gift_dsl.train.job import Hooks, StageJob

SPEC = """
gift: 1
name: lessons
seed: {seed}
model: {{source: tiny, tiny: {{hidden_size: 32, layers: 1, heads: 2, intermediate_size: 32}}}}
precision: {precision}
games:
  sum: {{type: arithmetic, generate: {{low: 0, high: 6}}, prompt: {{wording: compact}}}}
  matrix: {{type: matrix_games, permute: reverse, prompt: {{wording: compact}}}}
  ttt: {{type: tictactoe, opponents: random, prompt: {{wording: compact}}}}
  spy: {{type: whos_the_spy, opponents: clue, pairs: [{{first: lamp, second: candle}}], prompt: {{wording: compact}}}}
  chain: {{all_of: [sum, matrix, ttt, spy{chain}}}
rollout: {{max_tokens_per_turn: {max_tokens}}}
resources: {{micro_batch_size: {micro}}}
output: {{save_every: {save_every}}}
stages:
  - name: warmup
    type: {type}
    play: {play}
    epochs: {epochs}
    data: {data}
    {type}: {fields}
"""
FIELDS = "{batch_size: 4, optimizer: muon, learning_rate: 0.003, schedule: linear}"


def plan_of(**changes):
    """A plan; `data` and `fields` are YAML."""
    said = {
        "seed": 1,
        "precision": "fp32",
        "chain": "]",
        "max_tokens": 6,
        "micro": 4,
        "save_every": 20,
        "type": "sft",
        "play": "sum",
        "epochs": 1,
        "data": "{scripted: {episodes: 24}}",
        "fields": FIELDS,
        **changes,
    }
    (plan,) = compile_spec("lessons.yaml", SPEC.format(**said))
    return plan


def games_of(plan):
    """Those of the first stage, by name."""
    return {leaf.game: table_game(plan.game(leaf.game)) for leaf in leaves(plan.stages[0].play)}


def players_of(plan):
    return {player.name: make_player(player, Services()) for player in plan.opponents}


class Heard:
    """What a trainer told; asks it to stop after so many steps."""

    def __init__(self, stop_after=None):
        self.records, self.checkpoints, self.probes, self.stop_after = [], [], [], stop_after

    @property
    def hooks(self):
        return Hooks(
            on_step=self.records.append,
            should_stop=lambda: "enough" if len(self.records) == self.stop_after else None,
            on_checkpoint=lambda folder, state: self.checkpoints.append((folder, dict(state))),
            probe=self.probes.append,
        )

    def of(self, metric):
        return [record.metrics[metric] for record in self.records]


def job_of(plan, folder, heard=None, resume_from=None, carry_from=None):
    """The first stage as one process trains it, with a new model."""
    torch.set_num_threads(1)
    source = folder / "tiny"
    if not source.exists():
        build_tiny(plan, source)
    return StageJob(
        plan=plan,
        stage=plan.stages[0],
        index=0,
        engine=load_policy(plan.model, str(source)),
        tokenizer=load_tokenizer(plan.model, str(source)),
        folder=folder / "checkpoints",
        resume_from=resume_from,
        carry_from=carry_from,
        hooks=(heard or Heard()).hooks,
        games=games_of(plan),
        players=players_of(plan),
    )


def with_stage(plan, **changes):
    """The plan with another first stage."""
    return replace(plan, stages=(replace(plan.stages[0], **changes),))
