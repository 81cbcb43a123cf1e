"""Laws of an update: what moves weights and by how much, and what must not."""

from __future__ import annotations

import functools
import math
import random
from dataclasses import replace

import pytest
import torch

from gift_dsl.engines.load import adapted
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.errors import GiftError
from gift_dsl.plan import LoraPlan
from gift_dsl.train import grpo
from gift_dsl.train import step as step_module
from gift_dsl.train.grpo import GiftTrainer
from gift_dsl.train.guards import NotFinite
from tests.train.staged import Log, Recorded, Watched, engine_of, logprobs, plan_of, recorded_plan, schooled, train

torch.set_num_threads(1)


def largest_difference(some, others):
    return max(float((one - other).abs().max()) for one, other in zip(some, others, strict=True))


def weights_of(engine):
    return {name: tensor.clone() for name, tensor in engine.model.state_dict().items()}


def are_equal(some, others):
    return some.keys() == others.keys() and all(torch.equal(some[name], others[name]) for name in some)


# ── mask ──


def test_nothing_is_learned_at_given_tokens_and_padding(monkeypatch, tmp_path):
    plan = recorded_plan(steps=1, micro=4, entropy_coef=0.1, kl_coef=0.1)
    watched = Watched(monkeypatch, Recorded(plan))
    engine, hidden = engine_of(), []

    def keep(_module, _args, output):
        if output.last_hidden_state.requires_grad:
            output.last_hidden_state.retain_grad()
            hidden.append(output.last_hidden_state)

    engine.model.model.register_forward_hook(keep)
    train(plan, tmp_path, engine)
    num_given = 0
    for states, micro in zip(hidden, watched.trainer._buffered_inputs, strict=True):
        width = micro["completion_ids"].shape[1]
        is_sampled = (micro["completion_mask"] * micro["tool_mask"]).bool()
        grads = states.grad[:, -width - 1 : -1].abs().sum(-1)
        assert (grads[~is_sampled] == 0).all()
        assert (states.grad[:, : -width - 1] == 0).all()
        assert (grads[is_sampled] > 0).float().mean() > 0.9
        num_given += int((~is_sampled).sum())
    assert num_given > 10


def test_a_micro_batch_is_handed_the_number_of_its_step_and_nothing_else(monkeypatch, tmp_path):
    plan = recorded_plan(steps=2, micro=4)
    watched = Watched(monkeypatch, Recorded(plan))
    train(plan, tmp_path)
    handed = [[one["prompt"] for one in slots] for slots in watched.trainer.get_train_dataloader()]
    num_micro = watched.trainer.args.steps_per_generation
    assert num_micro > 1
    assert handed == [["0"]] * num_micro + [["1"]] * num_micro


def test_what_was_sampled_is_what_is_trained(monkeypatch, tmp_path):
    watched = Watched(monkeypatch)
    start, log = engine_of(schooled()).model, Log()
    train(plan_of("stages[nested].until.steps=1"), tmp_path, engine_of(schooled()), log)
    sequences = [one for group in log.groups[0] for each in group.trajectories for one in each.sequences]
    assert len(sequences) == 16
    for one in sequences:
        exact = logprobs(start, one)
        for place, bit in enumerate(one.mask):
            assert abs(float(exact[place]) - one.logprobs[place]) < (1e-5 if bit else math.inf)
    assert log.metrics[0]["update/clip_share"] == 0
    micro = watched.trainer._buffered_inputs[0]
    rows = {tuple(ids) for one in sequences for ids in [one.prompt_ids + one.completion_ids]}
    first = [*micro["prompt_ids"][0][micro["prompt_mask"][0].bool()], *micro["completion_ids"][0]]
    assert tuple(map(int, first)) in rows


# ── micro-batches ──


def gradient(monkeypatch, folder, plan, recorded):
    watched = Watched(monkeypatch, recorded)
    train(plan, folder)
    return watched.grads[0]


@pytest.mark.parametrize("options", [{"loss": "token"}, {"loss": "trajectory", "context": "fresh", "rows": 2}])
def test_gradients_do_not_depend_on_micro_batches_and_their_order(options, monkeypatch, tmp_path):
    context = options.pop("context", "shared") if isinstance(options, dict) else "shared"
    more = {"steps": 1, "entropy_coef": 0.1, "kl_coef": 0.2, "max_grad_norm": 1e6, **options}
    plans = [recorded_plan(micro=micro, **more) for micro in (1, 4, 8)]
    recorded = Recorded(plans[0], context=context)
    grads = [gradient(monkeypatch, tmp_path / str(index), plan, recorded) for index, plan in enumerate(plans)]
    make_updates = step_module.make_updates

    def shuffled(*args, **kwargs):
        updates = make_updates(*args, **kwargs)
        return tuple(replace(one, rows=tuple(random.Random(3).sample(one.rows, len(one.rows)))) for one in updates)

    monkeypatch.setattr(step_module, "make_updates", shuffled)
    grads.append(gradient(monkeypatch, tmp_path / "shuffled", plans[1], recorded))
    assert max(float(one.abs().max()) for one in grads[0]) > 0.01
    assert all(largest_difference(grads[0], one) < 1e-5 for one in grads[1:])


def test_micro_batches_are_no_longer_than_their_longest_row(monkeypatch, tmp_path):
    plan = recorded_plan(steps=1, micro=2)
    watched = Watched(monkeypatch, Recorded(plan))
    train(plan, tmp_path)
    widths = [one["completion_ids"].shape[1] for one in watched.trainer._buffered_inputs]
    lengths = [
        one["prompt_ids"].shape[1] + width for one, width in zip(watched.trainer._buffered_inputs, widths, strict=True)
    ]
    assert lengths == sorted(lengths, reverse=True)
    assert len(set(lengths)) > 2
    for one in watched.trainer._buffered_inputs:
        assert one["completion_mask"].sum(-1).max() == one["completion_ids"].shape[1]
        assert one["advantages"].shape == one["old_per_token_logps"].shape == one["completion_ids"].shape


def test_an_update_without_trajectories_moves_neither_weights_nor_moments(monkeypatch, tmp_path):
    states = []
    for steps in (1, 3):
        plan = recorded_plan(steps=steps, weight_decay=0.1, entropy_coef=0.1)
        watched = Watched(monkeypatch, Recorded(plan, alive=(0,)))
        engine, log = train(plan, tmp_path / str(steps))
        moments = watched.trainer.optimizer.state_dict()["state"]
        states.append(
            (weights_of(engine), {(i, key): value.clone() for i, one in moments.items() for key, value in one.items()})
        )
        assert log.metrics[0]["update/loss"] != 0
    assert are_equal(states[0][0], states[1][0])
    assert are_equal(states[0][1], states[1][1])
    assert not any(name.startswith("update/loss") for one in log.metrics[1:] for name in one)
    assert [one["update/trajectories"] for one in log.metrics] == [8, 0, 0]


# ── engine and trainer ──


def elsewhere(monkeypatch):
    """The engine is not in this process, so that its log-probabilities are only what it says."""
    monkeypatch.setattr(grpo, "Playing", functools.partial(step_module.Playing, is_in_process=False))


@pytest.mark.parametrize("shift", [-2.0, -0.5, 0.5])
def test_tokens_of_a_shifted_engine_weigh_what_importance_sampling_says(shift, monkeypatch, tmp_path):
    plan = recorded_plan(steps=1, loss="token", max_grad_norm=1e6, entropy_coef=0.0)
    elsewhere(monkeypatch)
    runs = {}
    for value in (0.0, shift):
        watched = Watched(monkeypatch, Recorded(plan, noise=0.0, shift=value))
        _, log = train(plan, tmp_path / str(value))
        runs[value] = watched.losses[0], watched.grads[0], log.metrics[0]
    weight = min(math.exp(-shift), plan.stages[-1].algorithm.importance_cap)
    assert abs(runs[0.0][0]) > 0.01
    assert runs[shift][0] == pytest.approx(weight * runs[0.0][0], abs=1e-6)
    expected = [weight * one for one in runs[0.0][1]]
    assert largest_difference(expected, runs[shift][1]) < 1e-5
    found = runs[shift][2]
    assert found["mismatch/abs_difference"] == pytest.approx(abs(shift), abs=1e-5)
    assert found["mismatch/kl"] == pytest.approx(math.exp(-shift) - 1 + shift, abs=1e-4)
    assert found["mismatch/truncated_share"] == (1.0 if math.exp(-shift) > 3 else 0.0)
    assert runs[0.0][2]["mismatch/abs_difference"] < 1e-6


def of_format(plan, **formats):
    return replace(plan, model=replace(plan.model, **formats))


def test_bf16_is_computed_again_by_the_trainer_and_the_difference_is_logged(monkeypatch, tmp_path):
    plan = of_format(plan_of("stages[nested].until.steps=1"), compute="bf16")
    plain = engine_of(schooled())
    engine = TransformersEngine(plain.model, plain.codec, compute="bf16")
    watched = Watched(monkeypatch)
    _, log = train(plan, tmp_path, engine)
    assert 0 < log.metrics[0]["mismatch/abs_difference"] < 0.05
    assert 0 < log.metrics[0]["mismatch/kl"] < 1e-2
    assert {one.dtype for one in engine.model.parameters()} == {torch.float32}
    # The loss is taken at a ratio of exactly one: old log-probabilities are of the very computation that is trained.
    assert log.metrics[0]["update/clip_share"] == 0
    assert all("sampling_per_token_logps" not in one for one in watched.trainer._buffered_inputs)


def test_dropout_of_adapters_is_no_mismatch_of_engine_and_trainer(tmp_path):
    lora = LoraPlan(rank=4, alpha=8.0, dropout=0.5, target_modules=("all-linear",))
    plan = of_format(plan_of("stages[nested].until.steps=2", "algorithm.learning_rate=0.2"), compute="bf16", lora=lora)
    plain = adapted(engine_of(schooled()), lora, seed=5)
    engine = TransformersEngine(plain.model, plain.codec, compute="bf16")
    _, log = train(plan, tmp_path, engine)
    assert log.metrics[0]["update/grad_norm"] > 0
    assert all(0 < one["mismatch/abs_difference"] < 0.05 for one in log.metrics)
    assert engine.model.training


@pytest.mark.parametrize(("weights", "least", "most"), [("fp32", 0.99, 1.0), ("bf16", 0.0, 0.1)])
def test_a_small_step_moves_fp32_weights_and_hardly_any_bf16_ones(weights, least, most, monkeypatch, tmp_path):
    plan = of_format(recorded_plan(steps=1, learning_rate=1e-6), compute="bf16", weights=weights)
    watched = Watched(monkeypatch, Recorded(plan))
    engine = engine_of()
    engine.model.to(torch.bfloat16 if weights == "bf16" else torch.float32)
    before = [one.detach().clone() for one in engine.model.parameters()]
    train(plan, tmp_path, engine)
    moved = with_gradient = 0
    for old, new, grad in zip(before, engine.model.parameters(), watched.grads[0], strict=True):
        with_gradient += int((grad != 0).sum())
        moved += int(((old != new) & (grad != 0)).sum())
    assert with_gradient > 5000
    assert least <= moved / with_gradient <= most


# ── what stops a run ──


class Broken(Recorded):
    """In its second step an engine reports a probability of zero."""

    def group(self, keys, number, size):
        group = super().group(keys, number, size)
        if keys.step == 0:
            return group
        members = []
        for one in group.trajectories:
            (sequence,) = one.sequences
            broken = tuple(-math.inf if bit else 0.0 for bit in sequence.mask)
            members.append(replace(one, sequences=(replace(sequence, logprobs=broken),)))
        return replace(group, trajectories=tuple(members))


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_move(monkeypatch, tmp_path):
    plan = recorded_plan(steps=3, dual_clip="off")
    Watched(monkeypatch, Broken(plan))
    engine, log = engine_of(), Log(probe=lambda done: states.append(weights_of(engine)))
    states = []
    with pytest.raises(NotFinite, match="update 0 of step 1 in stage `nested` is not finite"):
        train(plan, tmp_path, engine, log)
    assert len(states) == 1
    assert are_equal(states[0], weights_of(engine))
    (path,) = tmp_path.glob("not-finite-step-1-rank-0.pt")
    saved = torch.load(path, weights_only=True)
    assert sum(len(one["completion_ids"]) for one in saved) == plan.stages[-1].batch.rows


@pytest.mark.parametrize("saves_memory", [False, True])
def test_out_of_memory_says_what_to_lower(saves_memory, monkeypatch, tmp_path):
    plan = of_format(recorded_plan(), gradient_checkpointing=saves_memory)
    Watched(monkeypatch, Recorded(plan))

    def full(self, model, inputs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(GiftTrainer, "_compute_loss", full)
    with pytest.raises(GiftError, match=r"lower `resources.micro_batch_size`") as caught:
        train(plan, tmp_path)
    assert ("set `model.gradient_checkpointing: true`" in str(caught.value)) is not saves_memory


def test_recomputing_activations_changes_no_loss(monkeypatch, tmp_path):
    losses = []
    for value in (False, True):
        plan = of_format(recorded_plan(), gradient_checkpointing=value)
        watched = Watched(monkeypatch, Recorded(plan))
        train(plan, tmp_path / str(value))
        losses.append(watched.losses)
        # of the layers: what tells it of the whole model has another name in each transformers
        layers = watched.trainer.model.model.layers
        assert {layer.gradient_checkpointing for layer in layers} == {value}
    assert losses[0] == pytest.approx(losses[1], abs=1e-7)


# ── dynamic sampling ──


def test_groups_without_spread_are_played_again_until_there_are_enough(monkeypatch, tmp_path):
    plan = recorded_plan(steps=1, kept=4, groups_per_step=4, dynamic_sampling=True, max_refills=5)
    Watched(monkeypatch, Recorded(plan, dead=(0, 2, 4)))
    _, log = train(plan, tmp_path)
    assert log.metrics[0]["refills"] >= 1
    assert log.metrics[0]["groups/matrix/kept"] == 4
    ids = [group.id for group in log.groups[0]]
    assert ids == [f"nested/0/{number}" for number in range(len(ids))]
    assert log.metrics[0]["update/trajectories"] == 16


def test_there_is_an_end_to_playing_again(monkeypatch, tmp_path):
    plan = recorded_plan(steps=1, kept=2, groups_per_step=2, dynamic_sampling=True, max_refills=2)
    Watched(monkeypatch, Recorded(plan, dead=range(1, 100)))
    _, log = train(plan, tmp_path)
    assert log.metrics[0]["refills"] == 2
    assert log.metrics[0]["groups/matrix/tied"] == log.metrics[0]["groups/matrix/played"] - 1
    assert log.metrics[0]["update/trajectories"] == 4
