"""A run that is played by vLLM, as far as that can be seen without one: its server is a stand-in."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import SimpleNamespace

import pytest
from trl.generation import vllm_generation

from gift_dsl.artifacts.lines import read_lines
from gift_dsl.engines.frozen import frozen_copy
from gift_dsl.errors import MachineError
from gift_dsl.run import preflight
from gift_dsl.train.alarms import MOST_MISMATCH_KL
from tests.engines.standin import StandIn
from tests.run.small import SPEC, Told, here

TEXT = SPEC.replace("until: {steps: 4}", "until: {steps: 2}, reward: random")  # so that returns differ
INFO = {"model_config": {"logprobs_mode": "processed_logprobs", "max_model_len": 4096}}


@pytest.fixture
def server(monkeypatch):
    """It serves what it is given by a stand-in for TRL's sync, which counts; a stale one forgets all but the first."""
    with StandIn() as server:
        server.synced, server.is_stale = [], False

        class Generation:
            vllm_client = SimpleNamespace(get_server_info=lambda: INFO)

            def __init__(self, model, **_):
                self.model = model

            def sync_weights(self):
                server.synced.append(len(server.asked))
                if len(server.synced) == 1 or not server.is_stale:
                    server.model = frozen_copy(self.model)

        monkeypatch.setattr(vllm_generation, "VLLMGeneration", Generation)
        monkeypatch.setattr(preflight, "find_spec", lambda name: ModuleSpec(name, None))
        yield server


@pytest.mark.slow
def test_steps_probes_and_the_end_of_a_stage_are_played_by_the_server_with_the_weights_of_the_moment(tmp_path, server):
    outcome = here(tmp_path, TEXT, sets=[f"resources.vllm={{mode: serve, base_url: '{server.url}'}}"])
    assert outcome.exit_code == 0
    lines = [line for line in read_lines(outcome.run.metrics) if line["stage"] == "nested"]
    assert len(lines) == 2
    assert all(line["mismatch/abs_difference"] > 0 for line in lines)
    # before the first step, after it, and after the second, whose weights the probe and the last measurement play with
    assert server.synced[0] == 0
    assert len(server.synced) == 3
    assert server.synced[2] < len(server.asked)


@pytest.mark.slow
@pytest.mark.parametrize("is_stale", [False, True])
def test_a_server_that_plays_on_with_the_weights_it_began_with_is_told(tmp_path, server, is_stale):
    server.is_stale = is_stale
    head = SPEC.partition("evaluation:")[0].replace("until: {steps: 4}", "until: {steps: 4}, reward: random")
    text = "\n".join(line for line in head.splitlines() if "warmup" not in line)
    sets = [
        f"resources.vllm={{mode: serve, base_url: '{server.url}'}}",
        "model.tiny={hidden_size: 32, layers: 1, heads: 2}",
    ]
    outcome = here(tmp_path, text, sets=[*sets, "algorithm.learning_rate=0.01", "algorithm.drop_zero=false"])
    assert outcome.exit_code == 0
    lines = list(read_lines(outcome.run.metrics))
    assert ["mismatch" in line.get("alarms", {}) for line in lines] == [False] + [is_stale] * 3
    assert all((line["mismatch/kl"] > MOST_MISMATCH_KL) == (is_stale and line["step"] > 0) for line in lines)


def test_a_machine_without_vllm_or_its_server_is_refused_before_the_run(tmp_path):
    with pytest.raises(MachineError) as raised:
        here(tmp_path, SPEC, sets=["resources.vllm={mode: serve, base_url: 'http://127.0.0.1:9'}"], told=Told())
    said = str(raised.value)
    assert "`resources.vllm` needs vLLM on this machine: pip install 'gift-dsl[vllm]'" in said
    assert "`resources.vllm`: nobody answers at 127.0.0.1:9" in said
    assert not (tmp_path / "runs").exists()
