"""One small valid spec that each test changes in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gift_dsl import api
from gift_dsl.api import Checked

BASE = """
gift: 1
name: base
model: {source: tiny}
precision: fp32
games:
  sums: {type: arithmetic, prompt: {wording: compact}}
  matrix: {type: matrix_games, prompt: {wording: compact}}
  tictactoe: {type: tictactoe, opponents: random, prompt: {wording: compact}}
  spy: {type: whos_the_spy, opponents: clue, prompt: {wording: compact}}
  all: {all_of: [sums, matrix, tictactoe, spy]}
stages:
  - {name: main, type: grpo, play: all, until: {steps: 10}}
algorithm: {keep: 1.0, groups_per_step: 8, group_size: 4, mini_batch_size: all}
rollout: {max_tokens_per_turn: 20}
"""

Check = Callable[..., Checked]


@pytest.fixture
def check() -> Check:
    """Checks the base spec with `path=value` overrides."""

    def run(*sets: str, text: str = BASE, **kwargs: Any) -> Checked:
        return api.check_spec("-", text, sets=sets, **kwargs)

    return run


@pytest.fixture
def codes(check: Check) -> Callable[..., list[str]]:
    """The codes found in the base spec with overrides, unused definitions left out."""

    def run(*sets: str, **kwargs: Any) -> list[str]:
        return [item.code for item in check(*sets, **kwargs).diagnostics if item.code != "unused"]

    return run
