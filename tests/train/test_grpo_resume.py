"""A stage that was interrupted is the same stage: everything that it adapts is in its checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from gift_dsl.engines.load import adapted
from gift_dsl.errors import GiftError
from gift_dsl.plan import LoraPlan
from gift_dsl.train.grpo import read_state
from tests.train.staged import Log, Recorded, Watched, engine_of, plan_of, recorded_plan, schooled, train

torch.set_num_threads(1)

LORA = LoraPlan(rank=4, alpha=8.0, dropout=0.0, target_modules=("all-linear",))
EVERYBODY = (
    "opponents.early={type: snapshot, every: 1, keep: 2, pick: uniform}",
    "opponents.me={type: self}",
    "opponents.crowd={type: pool, by: even, members: [rival, me, early]}",
    "games.tictactoe.opponents=crowd",
    "stages[nested].play={in_turn: [{all_of: [tictactoe, matrix], reward: difficulty}, tictactoe]}",
    "algorithm.baseline=role",
    "algorithm.advantage_scale=none",
    "output.save_every=1",
)
SEVERAL_UPDATES = (
    "algorithm.dynamic_sampling=true",
    "algorithm.max_refills=2",
    "algorithm.mini_batch_size=8",
    "algorithm.epochs=2",
    "algorithm.schedule=linear",
    "output.save_every=1",
)
STEPS = 4


def whole_and_interrupted(plan, folder, monkeypatch, make=lambda: engine_of(schooled())):
    """Every loss, metric, group, state and weight of a stage that runs through, and of one that stops halfway."""
    watched, log = Watched(monkeypatch), Log()
    engine, _ = train(plan, folder / "whole", make(), log)
    whole = facts(folder / "whole", engine, log, watched.losses)

    watched, log = Watched(monkeypatch), Log(stop_after=STEPS // 2)
    train(plan, folder / "parts", make(), log)
    last, state = log.checkpoints[-1]
    assert state["step"] == STEPS // 2
    log._stop_after = None
    engine, _ = train(plan, folder / "parts", make(), log, resume_from=last)
    return whole, facts(folder / "parts", engine, log, watched.losses)


def facts(folder, engine, log, losses):
    last = log.checkpoints[-1][0]
    return {
        "losses": losses,
        "metrics": log.metrics,
        "groups": log.groups,
        "state": json.loads((last / "gift_state.json").read_text()),
        "weights": {name: tensor.tolist() for name, tensor in engine.model.state_dict().items()},
        "optimizer": torch.load(last / "optimizer.pt", weights_only=True)["state"][0]["exp_avg"].tolist(),
        "snapshots": {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("snapshots/*/*")},
    }


@pytest.mark.slow
@pytest.mark.parametrize("sets", [EVERYBODY, SEVERAL_UPDATES], ids=["everybody plays", "several updates and refills"])
def test_a_resumed_stage_is_bit_for_bit_the_one_that_ran_through(sets, monkeypatch, tmp_path):
    plan = plan_of(f"stages[nested].until.steps={STEPS}", *sets)
    whole, parts = whole_and_interrupted(plan, tmp_path, monkeypatch)
    for name, value in whole.items():
        assert value == parts[name], name
    assert len(whole["losses"]) == STEPS * plan.stages[-1].batch.updates
    assert len(set(whole["losses"])) > STEPS // 2
    state = whole["state"]["train_state"]
    if sets is EVERYBODY:
        players = {
            turn.player
            for groups in whole["groups"]
            for group in groups
            for one in group.trajectories
            for turn in one.turns
        }
        assert {"policy", "rival", "me"} < players
        assert any(name.startswith("early@") for name in players)
        assert state["baselines"]
        assert set(state["rates"]) == {"tictactoe#1", "tictactoe#2", "matrix"}
        assert set(state["pools"]["crowd"]["scores"]) == {"rival", "me", "early"}
        assert state["snapshots"] == {"early": [3, 4]}
        assert {name.split("/")[1] for name in whole["snapshots"]} >= {"step-3", "step-4"}
        tasks = [{group.task for group in groups} for groups in whole["groups"]]
        assert tasks == [{"matrix + tictactoe#1"}, {"tictactoe#2"}] * 2
    else:
        assert any(one["refills"] for one in whole["metrics"])


@pytest.mark.parametrize("end", ["subgame_episodes", "policy_tokens", "probe"])
def test_a_stage_that_came_to_its_end_before_its_last_step_is_not_trained_on_by_a_resume(end, monkeypatch, tmp_path):
    plan = recorded_plan(steps=5)
    until = {"subgame_episodes": {"subgame_episodes": 100}, "policy_tokens": {"policy_tokens": 400}, "probe": {}}[end]
    stage = replace(plan.stages[-1], until=replace(plan.stages[-1].until, **until))
    plan, probed, resumed = replace(plan, stages=(*plan.stages[:-1], stage)), [], []
    log = Log(probe=probed.append, on_resume=resumed.append, is_done=lambda: end == "probe" and len(probed) > 1)
    Watched(monkeypatch, Recorded(plan))
    train(plan, tmp_path, log=log)
    (last, state), played = log.checkpoints[-1], len(log.groups)
    assert 1 < state["step"] == played < 5, "several steps, and not all that are allowed"
    engine, _ = train(plan, tmp_path, log=log, resume_from=last)
    assert (len(log.groups), len(log.steps), len(log.checkpoints)) == (played, played, 1)
    assert resumed == [state["step"]]
    found = dict(engine.model.named_parameters())
    assert all(torch.equal(found[name], value) for name, value in load_file(last / "model.safetensors").items())
    assert not torch.equal(engine.model.lm_head.weight, engine_of().model.lm_head.weight)


def test_what_the_session_before_left_undone_is_made_up_for_after_the_last_step_too(monkeypatch, tmp_path):
    plan, resumed = recorded_plan(steps=2), []
    log = Log(on_resume=resumed.append)
    Watched(monkeypatch, Recorded(plan))
    train(plan, tmp_path, log=log)
    assert resumed == []
    train(plan, tmp_path, log=log, resume_from=log.checkpoints[-1][0])
    assert resumed == [2]
    assert len(log.groups) == 2


@pytest.mark.slow
def test_adapters_are_trained_alone_and_resumed(monkeypatch, tmp_path):
    plan = plan_of(f"stages[nested].until.steps={STEPS}", "algorithm.kl_coef=0.1", "algorithm.learning_rate=0.01")
    plan = replace(plan, model=replace(plan.model, lora=LORA))
    start = schooled()
    whole, parts = whole_and_interrupted(plan, tmp_path, monkeypatch, lambda: adapted(engine_of(start), LORA, seed=5))
    for name, value in whole.items():
        assert value == parts[name], name
    frozen = {name: value for name, value in whole["weights"].items() if "base_layer" in name}
    assert frozen
    for name, value in frozen.items():
        bare = name.removeprefix("base_model.model.").replace(".base_layer", "")
        assert torch.equal(torch.tensor(value), start[bare])
    moved = [torch.tensor(value).abs().max() for name, value in whole["weights"].items() if "lora_B" in name]
    assert all(value > 0 for value in moved)
    assert whole["metrics"][0]["update/kl"] < 1e-9 < whole["metrics"][-1]["update/kl"]
    (folder,) = (tmp_path / "whole").glob("checkpoint-*")
    assert (folder / "adapter_model.safetensors").is_file()


def test_an_engine_without_the_plans_adapters_is_refused(tmp_path):
    plan = recorded_plan()
    with pytest.raises(ValueError, match="adapters where the plan has none, or the other way round"):
        train(replace(plan, model=replace(plan.model, lora=LORA)), tmp_path)


def test_adapters_of_the_head_are_refused():
    for target in ("lm_head", "no_such_layer"):
        with pytest.raises(GiftError, match=r"model\.lora\.target_modules"):
            adapted(engine_of(), replace(LORA, target_modules=(target,)), seed=1)


def test_new_adapters_change_nothing_and_depend_on_the_seed_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    models = [adapted(engine_of(), LORA, seed).model for seed in (1, 1, 2)]
    assert torch.equal(state, torch.get_rng_state())
    first, again, other = (
        {name: one for name, one in model.named_parameters() if one.requires_grad} for model in models
    )
    assert first
    assert all("lora_" in name for name in first)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    ids = torch.tensor([[3, 4, 5]])
    assert torch.equal(models[0](ids).logits, engine_of().model(ids).logits)


# ── carry ──


def carrying(plan, how):
    stage = replace(plan.stages[-1], optimizer=how)
    return replace(plan, stages=(*plan.stages[:-1], stage))


def last_checkpoint(folder):
    (found,) = folder.glob("checkpoint-*")
    return found


def test_a_stage_begins_with_the_moments_of_the_stage_before_where_it_carries_them(monkeypatch, tmp_path):
    first = recorded_plan(steps=2)
    Watched(monkeypatch, Recorded(first))
    engine, _ = train(first, tmp_path / "first")
    before = torch.load(last_checkpoint(tmp_path / "first") / "optimizer.pt", weights_only=True)["state"]
    second = recorded_plan(steps=1, learning_rate=5e-4, weight_decay=0.5)
    found = {}
    for how in ("carry", "reset"):
        watched = Watched(monkeypatch, Recorded(second, alive=()))
        carry_from = last_checkpoint(tmp_path / "first")
        train(carrying(second, how), tmp_path / how, engine_of(engine.model.state_dict()), carry_from=carry_from)
        found[how] = watched.trainer.optimizer.state_dict()
    assert found["reset"]["state"] == {}
    assert torch.equal(found["carry"]["state"][0]["exp_avg"], before[0]["exp_avg"])
    assert float(found["carry"]["state"][0]["step"]) == 2
    assert {group["lr"] for group in found["carry"]["param_groups"]} == {5e-4}
    assert [group["weight_decay"] for group in found["carry"]["param_groups"]] == [0.5, 0.0]


def test_moments_of_another_optimizer_are_not_carried(monkeypatch, tmp_path):
    first = recorded_plan(steps=1)
    Watched(monkeypatch, Recorded(first))
    train(first, tmp_path / "first")
    second = carrying(recorded_plan(steps=1, optimizer="muon"), "carry")
    with pytest.raises(GiftError, match="the optimizer of the stage before is another"):
        train(second, tmp_path / "second", carry_from=last_checkpoint(tmp_path / "first"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(GiftError, match="holds no optimizer state"):
        train(carrying(first, "carry"), tmp_path / "third", carry_from=tmp_path / "empty")


def test_a_checkpoint_is_the_model_and_what_the_stage_remembers(monkeypatch, tmp_path):
    plan = recorded_plan(steps=2)
    Watched(monkeypatch, Recorded(plan))
    engine, log = train(plan, tmp_path)
    ((folder, state),) = log.checkpoints
    assert folder == tmp_path / "checkpoint-2"
    assert state["step"] == 2
    assert read_state(folder).to_json() == state["train_state"]
    assert state["train_state"]["policy_tokens"] == sum(one["policy_tokens"] for one in log.metrics)
    loaded = type(engine.model).from_pretrained(folder)
    assert all(torch.equal(one, engine.model.state_dict()[name]) for name, one in loaded.state_dict().items())
