"""What `gift show --resolved` prints is a spec that raises no doubt the written one did not raise."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gift_dsl.api import check_spec, show_text

ROOT = Path(__file__).parent.parent / "specs"
SPECS = [ROOT / name for name in ("quickstart.yaml", "nested_all.yaml", "examples/dapo.yaml", "examples/league.yaml")]
SPECS += sorted((ROOT / "starters").glob("*.yaml"))
SPEC = """\
gift: 1
name: x
model: {source: tiny}
games: {ttt: {type: tictactoe, opponents: random}}
stages: [{name: main, type: grpo, play: ttt, until: {steps: 1}, algorithm: {max_refills: 10, epochs: 2}}]
rollout: {max_tokens_per_turn: 20}
algorithm: {discount: 0.95, scope: per_task, keep: 1.0, overlong_cache: 100}
"""


def codes(text, path="-"):
    return Counter((item.severity, item.code) for item in check_spec(path, text).diagnostics)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_the_resolved_spec_has_the_warnings_of_the_written_one(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    checked = check_spec(path.name)
    written = Counter((item.severity, item.code) for item in checked.diagnostics)
    resolved = codes(show_text(checked, resolved=True).encode())
    assert resolved <= written


def test_a_value_that_the_preset_has_anyway_is_no_mistake():
    assert codes(SPEC) == {}


def test_another_value_that_has_no_effect_is_told():
    found = check_spec("-", SPEC.replace("0.95", "0.9").replace("max_refills: 10", "max_refills: 9")).diagnostics
    assert [(item.code, item.path) for item in found] == [
        ("no-effect", "stages[0].algorithm.max_refills"),
        ("no-effect", "algorithm.discount"),
    ]


def test_the_value_of_another_preset_has_no_effect():
    found = check_spec("-", SPEC.replace("algorithm: {discount", "algorithm: {preset: gift_v1, discount")).diagnostics
    assert [(item.code, item.path) for item in found] == [("no-effect", "algorithm.scope")]
