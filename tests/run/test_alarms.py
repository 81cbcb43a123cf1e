"""What looks wrong is in the metrics of its steps, and is said once: for each alarm a spec that trips it, and one that
does not. `mismatch` needs an engine of its own and is in test_vllm.py.
"""

from __future__ import annotations

import pytest

from gift_dsl.train.alarms import WINDOW
from tests.players.server import in_random_mix
from tests.run.small import here, metrics
from tests.run.test_spent import served

STEPS = WINDOW + 1
GAMES = {
    "arithmetic": "{type: arithmetic, generate: {low: 0, high: 3}, prompt: {wording: compact}}",
    "tictactoe": "{type: tictactoe, opponents: random, prompt: {wording: compact}}",
    "rival": "{type: tictactoe, opponents: server, trainee: {seat: 1}, prompt: {wording: compact}}",
}


def spec(game, *, taught=None, algorithm="learning_rate: 0.001", reward="game", more=""):
    """Two groups of four a step, all trained on; `taught` is what the warm-up's play is to be."""
    play = f"{{name: play, type: grpo, play: {game}, until: {{steps: {STEPS}}}, reward: {reward}}}"
    data = f"data: {{scripted: {taught}}}, sft: {{learning_rate: 0.01}}"
    warmup = "" if taught is None else f"{{name: warmup, type: sft, play: {game}, {data}}}, "
    return f"""\
gift: 1
name: alarming
seed: 3
model: {{source: tiny, tiny: {{hidden_size: 32, layers: 1, heads: 2}}, gradient_checkpointing: false}}
precision: fp32
games: {{{game}: {GAMES[game]}}}
rollout: {{max_tokens_per_turn: 6, max_void_share: 1}}
resources: {{micro_batch_size: 2, threads: 1}}
stages: [{warmup}{play}]
algorithm: {{keep: 1.0, drop_zero: false, groups_per_step: 2, group_size: 4, mini_batch_size: 2, {algorithm}}}
{more}"""


def alarms(folder, text):
    """Names of the alarms of each step of play."""
    outcome = here(folder, text)
    assert outcome.exit_code == 0
    found = [list(line.get("alarms", {})) for line in metrics(outcome.run) if line["stage"] == "play"]
    assert len(found) == STEPS, "an alarm stops nothing"
    return found


def test_an_alarm_is_in_the_metrics_of_its_steps_and_is_said_once(tmp_path, capsys):
    """Who was taught nothing says nothing in the format, so that all returns are equal."""
    outcome = here(tmp_path, spec("arithmetic"))
    assert outcome.exit_code == 0
    found = [line.get("alarms", {}) for line in metrics(outcome.run)]
    names = ["tied/arithmetic", "bad_format/arithmetic"]
    assert [list(one) for one in found] == [[]] * (WINDOW - 1) + [names] * 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm ")]
    assert said == [f"alarm {name}: {found[WINDOW - 1][name]}" for name in names]


@pytest.mark.slow
def test_a_model_that_was_taught_raises_none(tmp_path):
    assert alarms(tmp_path, spec("arithmetic", taught="{episodes: 256}")) == [[]] * STEPS


@pytest.mark.slow
def test_a_model_that_was_taught_illegal_moves_plays_them(tmp_path):
    found = alarms(tmp_path, spec("tictactoe", taught="{episodes: 512, illegal: 1}"))
    assert "illegal_action/tictactoe" in found[-1]
    assert not any(one.startswith("bad_format") for one in found[-1])


@pytest.mark.slow
def test_many_updates_of_one_step_at_a_high_rate_leave_a_narrow_clip(tmp_path):
    algorithm = "epochs: 3, learning_rate: 0.01, clip_low: 0.05, clip_high: 0.05"
    found = alarms(tmp_path, spec("arithmetic", algorithm=algorithm, reward="random"))
    assert "clipped" in found[-1]


@pytest.mark.slow
def test_a_rate_of_1_leaves_a_model_nothing_to_explore(tmp_path):
    found = alarms(tmp_path, spec("arithmetic", algorithm="epochs: 4, learning_rate: 1", reward="random"))
    assert "entropy" in found[-1]


@pytest.mark.slow
def test_a_server_that_fails_now_and_then_is_told_and_one_that_answers_is_not(tmp_path):
    for name, share in (("failing", 0.3), ("healthy", 0.0)):
        with served() as server:
            server.choose = in_random_mix(share, faults=("http_500",))
            address = f"{{type: openai, base_url: '{server.url}', model: m, retries: 0}}"
            folder = tmp_path / name
            folder.mkdir()
            found = alarms(folder, spec("rival", more=f"opponents: {{server: {address}}}\n"))
            assert ("void/server" in found[-1]) == (share > 0)
            assert (server.kinds["http_500"] > 0) == (share > 0)
