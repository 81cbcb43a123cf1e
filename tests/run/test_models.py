"""Real layouts through a whole run: a random Qwen2 or Llama with a BPE tokenizer that this file trains."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from gift_dsl.artifacts.trajectories import read_index, read_shard
from gift_dsl.errors import MachineError, UsageError
from tests.engines.test_load import save
from tests.run.small import here, metrics, shards

SIZES = {
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
}
SPEC = """\
gift: 1
name: real
seed: 3
model: {source: ./model, gradient_checkpointing: false}
precision: bf16
games:
  tictactoe: {type: tictactoe, opponents: rival, prompt: {wording: compact}}
opponents:
  rival: {type: random}
rollout: {max_tokens_per_turn: 4}
stages:
  - {name: play, type: grpo, play: tictactoe, until: {steps: 1}}
algorithm: {preset: gift_v1, keep: 1.0, groups_per_step: 2, group_size: 4, mini_batch_size: 4, learning_rate: 0.001}
resources: {micro_batch_size: 4, threads: 1}
output: {save_every: 1}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a model of 1.5 million weights, and one of another family."""
    root = tmp_path_factory.mktemp("real")
    save(root / "model", **SIZES)
    save(root / "llama", "llama-3", kind="llama", **SIZES)
    return root


def load(path):
    return AutoModelForCausalLM.from_pretrained(path).state_dict()


def moved(before, after):
    """Share of the weights that are others."""
    changed = sum(int((before[name] != after[name]).sum()) for name in before)
    return changed / sum(weight.numel() for weight in before.values())


def rewarded(text):
    """The stage with rewards that are not all zero, as those of a model that knows no rules are."""
    return text.replace("until: {steps: 1}", "until: {steps: 1}, reward: random")


@pytest.mark.parametrize("source", ["model", "llama"])
def test_a_local_folder_is_trained_in_bf16_over_fp32_weights(folder, source):
    text = rewarded(SPEC).replace("./model", f"./{source}").replace("name: real", f"name: full-{source}")
    outcome = here(folder, text)
    assert outcome.exit_code == 0
    after = load(outcome.run.stages / "play")
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert moved(load(folder / source), after) > 0.5
    (line,) = metrics(outcome.run)
    assert 0 < line["mismatch/kl"] < 1e-3, "bf16 is compared with the engine that sampled, and close"


def test_adapters_are_trained_handed_on_as_a_whole_model_and_tested_as_a_checkpoint(folder):
    text = rewarded(SPEC).replace("./model,", "./model, lora: {rank: 4, alpha: 8},").replace("name: real", "name: lora")
    outcome = here(folder, f"{text}evaluation:\n  final: {{rounds: 4, checkpoints: [start, 1, final]}}\n")
    assert outcome.exit_code == 0
    before, after = load(folder / "model"), load(outcome.run.stages / "play")
    assert after.keys() == before.keys()
    assert 0 < moved(before, after) < 1
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    (checkpoint,) = (outcome.run.checkpoints / "play").glob("checkpoint-*")
    assert (checkpoint / "adapter_model.safetensors").is_file()
    final = json.loads((outcome.run.evaluation / "final.json").read_text(encoding="utf-8"))["checkpoints"]
    assert final["1"]["plays"] == final["final"]["plays"], "the last step and what was handed on are the same model"


def test_a_run_goes_on_from_another_one(folder):
    first = here(folder, rewarded(SPEC).replace("name: real", "name: first"))
    text = SPEC.replace("source: ./model", "from_run: {run: first}").replace("name: real", "name: second")
    second = here(folder, text)
    assert second.exit_code == 0
    start = load(first.run.stages / "play")
    assert moved(start, load(second.run.stages / "play")) < 1
    assert second.run.plan.model.from_run == "first"
    assert moved(load(folder / "model"), start) > 0.5


RECORDED = """\
gift: 1
name: taught
seed: 4
model: {source: ./model, lora: {rank: 4, alpha: 8}, gradient_checkpointing: false}
precision: fp32
games:
  tictactoe: {type: tictactoe, opponents: rival, prompt: {wording: compact}}
opponents:
  rival: {type: random}
rollout: {max_tokens_per_turn: 4}
stages:
  - {name: imitate, type: sft, play: tictactoe, data: {runs: [adapted]}, sft: {learning_rate: 0.01, batch_size: 4}}
  - {name: weigh, type: glow, play: tictactoe, data: {runs: [PATH]}, glow: {learning_rate: 0.01, batch_size: 4}}
resources: {micro_batch_size: 4, threads: 1}
"""


def test_the_recorded_play_of_a_run_with_adapters_is_learned_by_its_name_and_by_its_path(folder):
    adapters = rewarded(SPEC).replace("./model,", "./model, lora: {rank: 4, alpha: 8},")
    first = here(folder, adapters.replace("name: real", "name: adapted"))
    spec = RECORDED.replace("PATH", f"./{first.run.path.relative_to(folder)}")
    second = here(folder, spec)
    assert second.exit_code == 0
    taught = sum(1 for _ in read_index(first.run))
    lines = metrics(second.run)
    assert {line["stage"] for line in lines} == {"imitate", "weigh"}
    assert [line["stage"] for line in lines].count("imitate") == -(-taught // 4)
    prints = [stage.data_prints[0] for stage in second.run.plan.stages]
    assert prints[0].sha256 == prints[1].sha256 is not None
    assert moved(load(second.run.stages / "imitate"), load(second.run.stages / "weigh")) > 0
    (first.run.path / "report.html").write_text("made again")  # what else a run writes is not what it played
    with pytest.raises(UsageError, match="there is no unfinished run"):
        here(folder, spec, mode="resume")


def test_recorded_play_that_is_not_there_is_named(folder):
    with pytest.raises(MachineError, match=r"no finished run `adapters` in .*runs") as raised:
        here(folder, RECORDED.replace("adapted", "adapters").replace("PATH", "runs/gone"))
    assert "no run directory" in str(raised.value)


@pytest.mark.parametrize(
    ("rival", "names"),
    [
        ("{type: local, source: ./llama}", {"rival"}),
        ("{type: self}", {"rival"}),
        ("{type: snapshot, every: 1}", {"rival@0", "rival@1"}),
    ],
)
def test_a_model_can_be_the_opponent(folder, rival, names):
    kind = rival.split()[1].strip(",}")
    text = SPEC.replace("{type: random}", rival).replace("steps: 1", "steps: 2").replace("name: real", f"name: {kind}")
    outcome = here(folder, text.replace("opponents: rival,", "opponents: rival, trainee: {seat: 1},"))  # it begins
    assert outcome.exit_code == 0
    paths = [outcome.run.trajectories / name for name in shards(outcome.run)]
    turns = [turn for path in paths for one in read_shard(path) for turn in one.turns if turn.sequence is None]
    assert {turn.player for turn in turns} == names
    assert any(turn.text for turn in turns)
