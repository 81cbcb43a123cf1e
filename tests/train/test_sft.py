"""Supervised stages: what an update is, when hooks are called, and that a stage that was resumed is the same stage."""

from __future__ import annotations

import math
from copy import deepcopy

import pytest
import torch

from gift_dsl.errors import GiftError
from gift_dsl.records import StepRecord
from gift_dsl.train.epochs import EMPTY, make_course
from gift_dsl.train.glow import train_glow
from gift_dsl.train.guards import NotFinite
from gift_dsl.train.optimizers import Together, make_optimizer
from gift_dsl.train.rows_sft import TaughtRow
from gift_dsl.train.schedule import rate_factor
from gift_dsl.train.sft import SupervisedTrainer, make_schedule, make_stage_course, train_sft
from tests.engines.small import make_model
from tests.train.lesson_plans import Heard, job_of, plan_of, with_stage

ADAMW = "{batch_size: 4, learning_rate: 0.003, schedule: linear}"


def trained(plan, folder, **more):
    heard = Heard(more.pop("stop_after", None))
    job = job_of(plan, folder, heard, **more)
    train_sft(job)
    return job, heard


def weights_of(job):
    return {name: weight.detach().clone() for name, weight in job.engine.model.named_parameters()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Six updates in one go."""
    return trained(plan_of(play="chain", save_every=3), tmp_path_factory.mktemp("unbroken"))


def test_a_step_is_one_update_of_batch_size_episodes(unbroken):
    _, heard = unbroken
    assert [record.step for record in heard.records] == list(range(6))
    assert all(isinstance(record, StepRecord) and record.stage == "warmup" for record in heard.records)


def test_the_loss_falls(unbroken):
    losses = unbroken[1].of("loss")
    assert losses[0] > math.log(100)  # of some 170 words, none is likelier yet
    assert losses[-1] < 0.8 * losses[0]


def test_probes_come_after_every_step_and_checkpoints_when_the_plan_says(unbroken):
    _, heard = unbroken
    assert heard.probes == [1, 2, 3, 4, 5, 6]
    assert [(folder.name, state["step"]) for folder, state in heard.checkpoints] == [
        ("checkpoint-3", 3),
        ("checkpoint-6", 6),
    ]


def test_a_checkpoint_loads_with_from_pretrained(unbroken):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    job, heard = unbroken
    folder = heard.checkpoints[-1][0]
    loaded = dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())
    assert all(torch.equal(weight, loaded[name]) for name, weight in weights_of(job).items())
    assert AutoTokenizer.from_pretrained(folder).chat_template == job.tokenizer.chat_template


@pytest.mark.parametrize("by", ["checkpoint of the plan", "request to stop"])
def test_a_resumed_stage_has_the_losses_and_weights_of_an_unbroken_one_bit_by_bit(unbroken, by, tmp_path):
    job, heard = unbroken
    plan = plan_of(play="chain", save_every=3 if by == "checkpoint of the plan" else 20)
    _, first = trained(plan, tmp_path, stop_after=3)
    again, rest = trained(plan, tmp_path, resume_from=first.checkpoints[-1][0])
    assert [record.step for record in rest.records] == [3, 4, 5]
    assert first.of("loss") + rest.of("loss") == heard.of("loss")
    assert all(torch.equal(weight, weights_of(again)[name]) for name, weight in weights_of(job).items())


def test_how_an_update_is_cut_into_micro_batches_changes_nothing_but_rounding(tmp_path):
    # Muon computes in bf16, where rounding is not small.
    data = "{scripted: {episodes: 12}}"
    _, whole = trained(plan_of(play="chain", fields=ADAMW, data=data), tmp_path / "whole")
    _, parts = trained(plan_of(play="chain", fields=ADAMW, data=data, micro=3), tmp_path / "parts")  # 3, 1, 2 empty
    assert len(whole.records) == 3
    for metric in ("loss", "grad_norm", "accuracy"):
        assert parts.of(metric) == pytest.approx(whole.of(metric), rel=1e-4)


def test_the_first_loss_is_the_mean_over_the_policys_tokens_of_the_update(tmp_path):
    plan = plan_of(play="chain", fields=ADAMW)
    job = job_of(plan, tmp_path, heard := Heard(stop_after=1))
    course, model = make_stage_course(job), job.engine.model
    terms = []
    for number in course.updates[0]:
        row = course.rows[number]
        with torch.no_grad():
            logp = model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        terms += [-logp[place - 1, row.ids[place]].item() for place, bit in enumerate(row.mask) if bit]
    train_sft(job)
    assert heard.of("loss") == pytest.approx([sum(terms) / len(terms)], rel=1e-5)
    assert heard.of("tokens/learned") == [len(terms)]


def test_nothing_is_printed(tmp_path, capfd):
    trained(plan_of(), tmp_path, stop_after=2)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "{'loss'" not in captured.err


def test_under_bf16_the_weights_and_the_optimizer_stay_fp32(tmp_path):
    job, heard = trained(plan_of(precision="bf16"), tmp_path, stop_after=2)
    assert {weight.dtype for weight in job.engine.model.parameters()} == {torch.float32}
    saved = torch.load(heard.checkpoints[-1][0] / "optimizer.pt", weights_only=True)["state"]
    floats = [value for state in saved.values() for value in state.values() if value.is_floating_point()]
    assert floats
    assert {value.dtype for value in floats} == {torch.float32}


def test_a_loss_that_is_no_number_stops_the_stage_before_the_weights_move(tmp_path, monkeypatch):
    plan, heard = plan_of(save_every=1), Heard()
    job = job_of(plan, tmp_path, heard)
    loss_of, before = SupervisedTrainer.compute_loss, weights_of(job)
    monkeypatch.setattr(SupervisedTrainer, "compute_loss", lambda *args, **more: loss_of(*args, **more) * math.nan)
    with pytest.raises(NotFinite, match="update 0 of stage `warmup` is not finite"):
        train_sft(job)
    assert heard.checkpoints == []
    assert all(torch.equal(weight, before[name]) for name, weight in weights_of(job).items())
    (path,) = tmp_path.rglob("not-finite-update-0-rank-0.pt")
    saved = torch.load(path, weights_only=True)
    assert saved
    assert all(len(one["ids"]) == len(one["mask"]) for one in saved)


@pytest.mark.parametrize("kind", ["sft", "glow"])
def test_out_of_memory_says_what_to_lower(kind, tmp_path, monkeypatch):
    fields = ADAMW if kind == "sft" else "{batch_size: 4}"
    job = job_of(plan_of(type=kind, fields=fields), tmp_path, Heard())

    def full(*_args, **_more):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(SupervisedTrainer, "training_step", full)
    with pytest.raises(GiftError, match=r"stage `warmup` was updated: lower `resources\.micro_batch_size`"):
        (train_sft if kind == "sft" else train_glow)(job)


def test_a_stage_of_which_nothing_is_wanted_says_so(tmp_path):
    plan = plan_of(data="{scripted: {episodes: 4, skill: [1, 1], illegal: 0}, where: {outcome: loss}}")
    with pytest.raises(GiftError, match="`warmup` has nothing to learn from"):
        train_sft(job_of(plan, tmp_path))


def test_episodes_longer_than_the_context_are_left_out(tmp_path, caplog):
    job = job_of(with_stage(plan_of(play="chain"), max_context=10), tmp_path)
    with pytest.raises(GiftError, match="fits"):
        train_sft(job)
    assert "24 of the 24 episodes" in caplog.text


# ── the order of rows ──


def episodes(*lengths):
    """One row an episode, of these lengths."""
    return [(TaughtRow((number,) * length, (0,) + (1,) * (length - 1)),) for number, length in enumerate(lengths)]


def test_each_epoch_reads_every_episode_once_in_an_order_of_its_own():
    course = make_course(episodes(*range(2, 12)), batch_size=4, epochs=2, at_once=1, name=(1, "warmup"))
    first, second = course.updates[:3], course.updates[3:]
    assert sorted(sum(first, ())) == sorted(sum(second, ())) == list(range(10))
    assert first != second
    assert [course.epoch(update) for update in range(6)] == [0, 0, 0, 1, 1, 1]


def test_an_update_reads_its_rows_longest_first_and_has_places_for_all_processes():
    course = make_course(episodes(*range(2, 12)), batch_size=4, epochs=1, at_once=3, name=(1, "warmup"))
    assert course.places == 6
    rows = [course.read(place) for place in range(18)]
    assert rows[4:6] == [EMPTY, EMPTY]
    assert rows[14:] == [EMPTY] * 4
    lengths = [[len(course.rows[row].ids) for row in update] for update in course.updates]
    assert all(one == sorted(one, reverse=True) for one in lengths)


def test_the_rows_of_an_episode_are_learned_in_one_update():
    row = TaughtRow((1, 2), (0, 1))
    course = make_course([(row, row, row), (row,), (row, row)], batch_size=1, epochs=1, at_once=1, name=(1, "s"))
    assert course.places == 3
    assert {frozenset(update) for update in course.updates} == {frozenset({0, 1, 2}), frozenset({3}), frozenset({4, 5})}


def test_seed_and_stage_make_the_order():
    def order(seed, stage):
        return make_course(episodes(*[3] * 20), batch_size=20, epochs=1, at_once=1, name=(seed, stage)).updates

    assert order(1, "a") == order(1, "a")
    assert len({order(1, "a"), order(2, "a"), order(1, "b")}) == 3


# ── optimizer and schedule ──


def test_muon_takes_the_matrices_and_adamw_the_rest():
    model = make_model()
    optimizer = make_optimizer(model, "muon", learning_rate=0.003, muon_learning_rate=0.03)
    rates = {id(weight): group["lr"] for group in optimizer.param_groups for weight in group["params"]}
    for name, weight in model.named_parameters():
        is_matrix = weight.dim() == 2 and "embed" not in name and "lm_head" not in name
        assert rates[id(weight)] == (0.03 if is_matrix else 0.003), name


def test_without_a_rate_of_its_own_muon_has_that_of_adamw():
    optimizer = make_optimizer(make_model(), "muon", learning_rate=0.003)
    assert {group["lr"] for group in optimizer.param_groups} == {0.003}


def test_gains_and_biases_do_not_decay():
    for group in make_optimizer(make_model(), "adamw", learning_rate=0.1, weight_decay=0.2).param_groups:
        assert {weight.dim() > 1 for weight in group["params"]} == {group["weight_decay"] == 0.2}


def stepped(optimizer, model, times):
    for number in range(times):
        for place, weight in enumerate(model.parameters()):
            weight.grad = torch.full_like(weight, 0.1 * (place + 1)) * weight.detach().sin() + number
        optimizer.step()


def test_optimizers_that_step_together_step_as_they_would_alone():
    model, alone = make_model(), make_model()
    together = make_optimizer(model, "muon", learning_rate=0.003, muon_learning_rate=0.03)
    assert isinstance(together, Together)
    ends = {id(alone.get_input_embeddings().weight), id(alone.get_output_embeddings().weight)}
    matrices = [one for one in alone.parameters() if one.dim() == 2 and id(one) not in ends]
    rest = [one for one in alone.parameters() if all(one is not matrix for matrix in matrices)]
    muon = torch.optim.Muon(matrices, lr=0.03, weight_decay=0.0, ns_steps=4)
    adamw = torch.optim.AdamW(rest, lr=0.003, weight_decay=0.0)
    stepped(together, model, 3)
    for number in range(3):
        for place, weight in enumerate(alone.parameters()):
            weight.grad = torch.full_like(weight, 0.1 * (place + 1)) * weight.detach().sin() + number
        muon.step()
        adamw.step()
    for one, other in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_state_of_optimizers_that_step_together_is_saved_and_loaded_whole():
    model, again = make_model(), make_model()
    first = make_optimizer(model, "muon", learning_rate=0.003, muon_learning_rate=0.03)
    stepped(first, model, 2)
    second = make_optimizer(again, "muon", learning_rate=0.1, muon_learning_rate=0.1)
    again.load_state_dict(model.state_dict())
    second.load_state_dict(deepcopy(first.state_dict()))
    stepped(first, model, 2)
    stepped(second, again, 2)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_warmup_is_a_share_of_the_schedule():
    fields = {"warmup": 0.1, "schedule": "linear", "min_learning_rate": 0.5}
    schedule = make_schedule(fields, 100)
    assert [rate_factor(schedule, update) for update in (0, 9, 10, 55, 100)] == pytest.approx([0.1, 1, 1, 0.75, 0.5])


def carried(plan, folder, carry_from):
    """State of the optimizer after the first update of a stage that carries, and of one that does not."""
    found = {}
    for how in ("carry", "reset"):
        stage = with_stage(plan, optimizer=how)
        _, heard = trained(stage, folder / how, carry_from=carry_from, stop_after=1)
        found[how] = torch.load(heard.checkpoints[0][0] / "optimizer.pt", weights_only=True)
    return found["carry"], found["reset"]


def test_a_stage_carries_the_moments_of_the_stage_before_where_it_says_so(tmp_path):
    plan = plan_of(fields=ADAMW, data="{scripted: {episodes: 8}}")
    _, heard = trained(plan, tmp_path / "before")
    checkpoint = heard.checkpoints[-1][0]
    before = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    ours, theirs = carried(plan, tmp_path, checkpoint)
    assert {float(each["step"]) for each in ours["state"].values()} == {3.0}
    assert {float(each["step"]) for each in theirs["state"].values()} == {1.0}
    for index, each in theirs["state"].items():  # of the same gradient: m' = 0.9 m + 0.1 g
        expected = each["exp_avg"] + 0.9 * before[index]["exp_avg"]
        assert torch.allclose(ours["state"][index]["exp_avg"], expected, atol=1e-7)
    rates = [[group["lr"] for group in state["param_groups"]] for state in (ours, theirs)]
    assert rates[0] == rates[1], "rates are the stage's own"


def test_muon_is_carried_too(unbroken, tmp_path):
    checkpoint = unbroken[1].checkpoints[-1][0]
    before = torch.load(checkpoint / "optimizer.pt", weights_only=True)["state"]
    ours, theirs = carried(plan_of(play="chain"), tmp_path, checkpoint)
    buffers = [index for index, each in before.items() if "momentum_buffer" in each]
    assert buffers
    for index in buffers:
        gained = ours["state"][index]["momentum_buffer"] - theirs["state"][index]["momentum_buffer"]
        assert torch.allclose(gained, 0.95 * before[index]["momentum_buffer"], atol=1e-6)
