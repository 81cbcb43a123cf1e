"""vLLM's turns arrive as they were sampled, whatever order or trouble they come in. No real vLLM has run here."""

from __future__ import annotations

import asyncio
import inspect
import math
import sys
from collections import Counter
from dataclasses import replace
from enum import Enum
from types import ModuleType, SimpleNamespace

import pytest
import torch
from trl.generation import vllm_client, vllm_generation
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration
from trl.import_utils import is_vllm_available

from gift_dsl.engines.frozen import frozen_copy
from gift_dsl.engines.served import ServedModel, Server, sampling_fields, server_address
from gift_dsl.engines.vllm import ColocatedModel, VllmEngine, VllmSettings
from gift_dsl.errors import MachineError
from gift_dsl.players.backoff import Backoff
from gift_dsl.seat import PlayerFault, TokenPolicy
from tests.engines.small import ENDS, Numbers, engine_of, logprobs_after, make_model, request_of
from tests.engines.standin import FIELDS, LLM, StandIn
from tests.train.staged import engine_of as staged_engine
from tests.train.staged import plan_of, schooled, train

torch.set_num_threads(1)
CONTEXT = (7, 18, 29, 40)


def requests_of(number, **options):
    return [request_of((*CONTEXT, 8 + place), f"{place}", **options) for place in range(number)]


def served(server, **options):
    return ServedModel(Server(server.url, **{"retries": 2, "backoff": Backoff(base_s=0.001), **options}), ENDS)


# ── served ──


def test_ids_and_log_probabilities_arrive_as_they_were_sent_though_the_last_was_answered_first():
    requests = requests_of(8, max_tokens=9)
    with StandIn(make_model(), batch=8) as server:
        completions = asyncio.run(served(server).complete(requests))
    assert [body for body, _ in server.sent] == server.asked[::-1]
    sent = {tuple(body["prompt"]): choice for body, choice in server.sent}
    for request, completion in zip(requests, completions, strict=True):
        choice = sent[request.context]
        assert [f"token_id:{token}" for token in completion.ids] == choice["logprobs"]["tokens"]
        assert list(completion.logprobs) == choice["logprobs"]["token_logprobs"]
        assert completion.finish_reason == choice["finish_reason"]


def test_a_turn_ends_with_an_end_or_is_cut_at_its_limit():
    with StandIn(make_model()) as server:
        completions = asyncio.run(served(server).complete(requests_of(24, max_tokens=6)))
    assert {one.finish_reason for one in completions} == {"stop", "length"}
    for one in completions:
        is_end = one.ids[-1] in ENDS
        assert (one.finish_reason == "stop") == is_end
        assert is_end or len(one.ids) == 6


def test_a_server_may_cut_a_turn_before_the_limit_that_was_asked_for():
    def cut(choice):
        logprobs = {name: values[:1] for name, values in choice["logprobs"].items()}
        return {**choice, "logprobs": logprobs, "finish_reason": "length"}

    with StandIn(make_model(), change=cut) as server:
        (one,) = asyncio.run(served(server).complete(requests_of(1, max_tokens=6)))
    assert (len(one.ids), one.finish_reason) == (1, "stop" if one.ids[-1] in ENDS else "length")


def test_everything_that_samples_is_said_and_no_two_requests_share_a_seed():
    requests = requests_of(6, temperature=0.7)
    with StandIn(make_model()) as server:
        asyncio.run(served(server).complete(requests))
    assert all(set(body) <= FIELDS for body in server.asked)
    for body in server.asked:
        assert body["temperature"] == 0.7
        assert (body["top_p"], body["top_k"], body["min_p"]) == (1.0, 0, 0.0)
        assert (body["repetition_penalty"], body["presence_penalty"], body["frequency_penalty"]) == (1.0, 0.0, 0.0)
        assert body["ignore_eos"] is True
        assert body["stop_token_ids"] == sorted(ENDS)
    assert len({body["seed"] for body in server.asked}) == 6
    assert sampling_fields(requests[0], ENDS) == sampling_fields(requests[0], ENDS)
    assert all(0 <= body["seed"] < 2**63 for body in server.asked)


def test_a_greedy_turn_has_the_log_probability_of_a_point():
    with StandIn(make_model()) as server:
        (one,) = asyncio.run(served(server).complete(requests_of(1, temperature=0)))
    assert set(one.logprobs) == {0.0}


def test_scores_are_those_of_a_forward_pass_and_the_rank_tells_what_is_greedy():
    engine = engine_of(make_model())
    greedy = tuple(int(logprobs_after(engine.model, CONTEXT)[-1].argmax()) for _ in range(1))
    continuations = [greedy, (9, 10, 11), ()]
    with StandIn(engine.model, "fp32") as server:
        found = asyncio.run(served(server).score([CONTEXT] * 3, continuations))
    expected = asyncio.run(engine.score([CONTEXT] * 3, continuations))
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-5)
    assert [one[1] for one in found] == [True, False, True]
    assert all(set(body) <= FIELDS for body in server.asked)
    with pytest.raises(ValueError, match="after at least one id"):
        asyncio.run(served(server).score([()], [(9,)]))


@pytest.mark.parametrize("fault", [500, 503, 429, "text", "abort"])
def test_what_may_pass_is_asked_again(fault):
    requests = requests_of(3)
    with StandIn(make_model(), faults=[fault, fault]) as server:
        completions = asyncio.run(served(server).complete(requests))
    assert len(completions) == 3
    assert sorted(Counter(tuple(body["prompt"]) for body in server.asked).values()) in ([1, 1, 3], [1, 2, 2])


@pytest.mark.parametrize(
    ("fault", "words"), [(500, "HTTP 500"), ("text", "no completion in the reply"), ("abort", "ended with `abort`")]
)
def test_what_does_not_pass_is_a_fault_that_names_the_server(fault, words):
    with StandIn(make_model(), faults=[fault] * 3) as server, pytest.raises(PlayerFault, match=words) as caught:
        asyncio.run(served(server).complete(requests_of(1)))
    assert caught.value.endpoint == f"127.0.0.1:{server.port}"
    assert len(server.asked) == 3


def test_a_request_that_takes_too_long_is_asked_again():
    with StandIn(make_model(), faults=["hang"]) as server:
        completions = asyncio.run(served(server, timeout_s=0.3).complete(requests_of(1)))
    assert (len(completions), len(server.asked)) == (1, 2)


@pytest.mark.parametrize("status", [400, 404])
def test_what_asking_again_cannot_change_is_told_in_the_words_of_the_server(status):
    with StandIn(make_model(), faults=[status]) as server, pytest.raises(MachineError, match="maximum context length"):
        asyncio.run(served(server).complete(requests_of(1)))
    assert len(server.asked) == 1


def foreign_end(choice):
    return {**choice, "logprobs": {"tokens": ["token_id:9"], "token_logprobs": [-1.0]}, "finish_reason": "stop"}


def of_ids(*tokens, logprobs=None):
    named = [f"token_id:{token}" for token in tokens]
    return {"tokens": named, "token_logprobs": logprobs or [-1.0] * len(tokens)}


@pytest.mark.parametrize(
    ("logprobs", "reason", "words"),
    [
        (of_ids(9), "stop", "id 9, which ends no turn"),
        (of_ids(9, 5, 9), "length", "went on after the end"),
        (of_ids(*[9] * 9), "length", "9 ids came back where 1 to 8"),
        (of_ids(), "length", "0 ids came back"),
        (of_ids(9, 9, logprobs=[-1.0]), "length", "not every id has a log-probability"),
        (of_ids(9, logprobs=[None]), "length", "no ids with log-probabilities"),
        ({"tokens": ["Hi"], "token_logprobs": [-1.0]}, "length", "Hi is no token id"),
        (None, "length", "no ids with log-probabilities"),
    ],
)
def test_an_answer_that_cannot_be_trained_on_is_refused(logprobs, reason, words):
    def change(choice):
        return {**choice, "logprobs": logprobs, "finish_reason": reason}

    with StandIn(make_model(), change=change) as server, pytest.raises(MachineError, match=words):
        asyncio.run(served(server).complete(requests_of(1)))
    assert len(server.asked) == 1


def test_nobody_at_the_address_is_a_fault_with_the_address():
    model = ServedModel(Server("http://127.0.0.1:9", retries=1, backoff=Backoff(base_s=0.001)), ENDS)
    with pytest.raises(PlayerFault, match=r"2 tries.*127\.0\.0\.1:9"):
        asyncio.run(model.complete(requests_of(2)))


@pytest.mark.parametrize("fault", ["hang", 400])
def test_a_call_that_is_cancelled_or_fails_leaves_no_task_behind(fault):
    async def play(server):
        calls = asyncio.create_task(served(server).complete(requests_of(5)))
        if fault == "hang":
            await asyncio.to_thread(server.hanging.wait, 10)
            calls.cancel()
        with pytest.raises(asyncio.CancelledError if fault == "hang" else MachineError):
            await calls
        return asyncio.all_tasks() - {asyncio.current_task()}

    with StandIn(make_model(), faults=[fault] * 5) as server:
        assert asyncio.run(play(server)) == set()


@pytest.mark.parametrize(
    "address", ["http://host:8000", "http://host:8000/", "http://host:8000/v1", "http://host:8000/v1/"]
)
def test_an_address_may_be_written_with_or_without_its_version(address):
    assert server_address(address) == "http://host:8000"
    assert Server(address).url == "http://host:8000/v1/completions"


# ── in this process ──


@pytest.fixture
def vllm(monkeypatch):
    """The two names of vLLM that are used; parameters are seen as the fields that they were made of."""
    made = ModuleType("vllm.sampling_params")
    made.SamplingParams = dict
    made.RequestOutputKind = Enum("RequestOutputKind", ["CUMULATIVE", "DELTA", "FINAL_ONLY"])
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", made)


def colocated(llm):
    return ColocatedModel(llm, ENDS, torch.device("cpu"))


@pytest.mark.usefixtures("vllm")
def test_an_engine_in_this_process_answers_in_the_order_asked_whatever_ends_first():
    llm, requests = LLM(make_model()), requests_of(6, max_tokens=5)
    completions = asyncio.run(colocated(llm).complete(requests))
    engine, again = engine_of(make_model(), compute="bf16"), LLM(None)
    for number, request in reversed(list(enumerate(requests))):
        again.numbers = iter([5 - number])
        asked = again.request(request.context, sampling_fields(request, ENDS))
        (expected,) = asyncio.run(engine.complete([asked]))
        assert completions[number] == expected
    assert {one.finish_reason for one in completions} == {"stop", "length"}


@pytest.mark.usefixtures("vllm")
def test_an_engine_in_this_process_scores_as_a_forward_pass_does():
    engine = engine_of(make_model())
    pairs = [CONTEXT, CONTEXT], [(9, 10, 11), ()]
    found = asyncio.run(colocated(LLM(engine.model, "fp32")).score(*pairs))
    expected = asyncio.run(engine.score(*pairs))
    assert [one[0] for one in found] == pytest.approx([one[0] for one in expected], abs=1e-5)
    assert [one[1] for one in found] == [one[1] for one in expected]


@pytest.mark.usefixtures("vllm")
def test_a_cancelled_turn_of_an_engine_in_this_process_is_aborted_before_anything_else_happens():
    llm = LLM(make_model())
    model = colocated(llm)

    async def play():
        llm.lock.clear()
        calls = asyncio.create_task(model.complete(requests_of(4)))
        while not llm.waiting:
            await asyncio.sleep(0.01)
        calls.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calls
        llm.lock.set()

    asyncio.run(play())
    model.settle()
    assert len(llm.aborted) == 3
    assert not llm.waiting
    assert len(asyncio.run(model.complete(requests_of(2)))) == 2


@pytest.mark.usefixtures("vllm")
def test_an_aborted_turn_is_a_fault_and_one_of_another_model_is_not():
    class Other(LLM):
        def step(self):
            outputs = super().step()
            outputs[-1].outputs[0].finish_reason = self.reason
            outputs[-1].outputs[0].token_ids[-1] = 9
            outputs[-1].outputs[0].logprobs[-1] = {9: SimpleNamespace(logprob=-1.0)}
            return outputs

    for reason, kind in (("abort", PlayerFault), ("stop", MachineError)):
        llm = Other(make_model())
        llm.reason = reason
        with pytest.raises(kind):
            asyncio.run(colocated(llm).complete(requests_of(1)))


# ── weights ──


class Generation:
    """TRL's `VLLMGeneration`, as far as it is used; what it is asked is checked against the real one's signature."""

    def __init__(self, *args, **kwargs):
        self.asked = inspect.signature(VLLMGeneration.__init__).bind(self, *args, **kwargs).arguments
        self.model, self.num_synced = self.asked["model"], 0
        type(self).made.append(self)

    def sync_weights(self):
        self.num_synced += 1
        self.target.load_state_dict(self.model.state_dict())


def generation(monkeypatch, target, *, llm=None, **told):
    """Put a stand-in in place of TRL's; its list of what was made."""
    info = {"model_config": {"logprobs_mode": "processed_logprobs", "max_model_len": 512, **told}}
    client = SimpleNamespace(get_server_info=lambda: info)
    fields = {"made": [], "target": target, "vllm_client": client, "llm": llm}
    kind = type("Generation", (Generation,), fields)
    monkeypatch.setattr(vllm_generation, "VLLMGeneration", kind)
    return kind.made


SERVED = VllmSettings("serve", "http://127.0.0.1:9/v1", 0.3, 2, None, 16)
COLOCATED = replace(SERVED, mode="colocate", base_url=None, tensor_parallel=1)
ALONE = SimpleNamespace(deepspeed_plugin=None, fsdp_plugin=None)
MAIN = SimpleNamespace(is_main_process=True, device=torch.device("cpu"), state=ALONE, wait_for_everyone=lambda: None)


def test_what_is_used_of_trl_is_there():
    given = {"self", "model", "accelerator", "processing_class", "mode", "server_base_url", "tensor_parallel_size"}
    given |= {"gpu_memory_utilization", "max_model_length", "max_num_seqs", "enable_sleep_mode"}
    assert given <= set(inspect.signature(VLLMGeneration.__init__).parameters)
    assert list(inspect.signature(VLLMGeneration.sync_weights).parameters) == ["self"]
    assert list(inspect.signature(VLLMClient.get_server_info).parameters) == ["self"]
    source = inspect.getsource(VLLMGeneration)
    for used in ("self.vllm_client = ", "self.llm = LLM(", 'logprobs_mode="processed_logprobs"'):
        assert used in source
    for used in (
        'self.llm.wake_up(tags=["weights"])',
        'self.llm.wake_up(tags=["kv_cache"])',
        "self.llm.sleep(level=2)",
    ):
        assert used in source
    # our requests are those of TRL's own client
    assert '"return_tokens_as_token_ids": True' in inspect.getsource(VLLMClient.generate)
    assert '"prompt_logprobs": top_logprobs' in inspect.getsource(VLLMClient.get_sequence_logprobs)


def test_weights_go_to_vllm_once_for_each_version_of_them(monkeypatch, caplog):
    model, target = make_model(), make_model(initializer_range=0.01)
    made = generation(monkeypatch, target)
    engine = VllmEngine(SERVED, Numbers())
    assert isinstance(engine, TokenPolicy)
    assert not engine.is_open
    engine.open(model, MAIN, "tokenizer")
    assert engine.is_open
    assert "has not yet been run with a real one" in caplog.text
    with pytest.raises(RuntimeError, match="before it has the weights"):
        asyncio.run(engine.complete(requests_of(1)))
    for version in (0, 0, 1, 1, 1):
        engine.sync_weights(version)
        engine.sleep()
    assert made[0].num_synced == 2
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), target.parameters(), strict=True))
    asked = made[0].asked
    assert (asked["mode"], asked["server_base_url"]) == ("server", "http://127.0.0.1:9")
    assert (asked["enable_sleep_mode"], asked["tensor_parallel_size"]) == (False, 1)


def test_nobody_plays_before_all_weights_are_with_the_server(monkeypatch):
    order = []
    made = generation(monkeypatch, make_model())
    monkeypatch.setattr(vllm_generation.VLLMGeneration, "sync_weights", lambda self: order.append("sent"))
    others = SimpleNamespace(**{**vars(MAIN), "is_main_process": False})
    others.wait_for_everyone = lambda: order.append("waited")
    engine = VllmEngine(SERVED, Numbers())
    engine.open(make_model(), others, "tokenizer")
    engine.sync_weights(0)
    engine.sync_weights(0)
    assert order == ["sent", "waited"]
    assert len(made) == 1


@pytest.mark.usefixtures("vllm")
def test_a_colocated_engine_sleeps_during_the_update_and_gets_all_weights_back(monkeypatch):
    llm = LLM(make_model())
    made = generation(monkeypatch, llm.model, llm=llm)
    engine = VllmEngine(COLOCATED, Numbers())
    engine.open(make_model(), MAIN, "tokenizer")
    engine.sleep()
    engine.sync_weights(0)
    assert len(asyncio.run(engine.complete(requests_of(2)))) == 2
    engine.sleep()
    engine.sleep()
    with pytest.raises(RuntimeError, match="before it has the weights"):
        asyncio.run(engine.complete(requests_of(1)))
    engine.sync_weights(0)
    assert llm.calls == [("wake_up", "kv_cache"), ("sleep", 2), ("wake_up", "kv_cache")]
    assert made[0].num_synced == 2
    assert (made[0].asked["mode"], made[0].asked["enable_sleep_mode"]) == ("colocate", True)
    assert (made[0].asked["gpu_memory_utilization"], made[0].asked["max_num_seqs"]) == (0.3, 16)


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"logprobs_mode": "raw_logprobs"}, r"reports `raw_logprobs`.*--logprobs-mode processed_logprobs"),
        ({"max_model_len": 64}, r"sequences of 64 tokens and the stage needs 128.*--max-model-len 128"),
    ],
)
def test_a_server_that_was_started_in_another_way_is_refused_with_the_way_to_start_it(told, words, monkeypatch):
    generation(monkeypatch, None, **told)
    engine = VllmEngine(replace(SERVED, max_context=128), Numbers())
    with pytest.raises(MachineError, match=words):
        engine.open(make_model(), MAIN, "tokenizer")
    engine.open(make_model(), SimpleNamespace(**{**vars(MAIN), "is_main_process": False}), "tokenizer")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (replace(SERVED, base_url=None), r"needs `resources\.vllm\.base_url`"),
        (replace(COLOCATED, tensor_parallel=2), r"`resources\.vllm\.tensor_parallel` above 1 needs `mode: serve`"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, words):
    with pytest.raises(MachineError, match=words):
        VllmEngine(settings, Numbers())


@pytest.mark.skipif(is_vllm_available(), reason="vLLM is installed here")
@pytest.mark.parametrize("settings", [SERVED, COLOCATED])
def test_a_machine_without_vllm_is_told_what_to_install(settings):
    with pytest.raises(MachineError, match=r"pip install 'gift-dsl\[vllm\]'"):
        VllmEngine(settings, Numbers()).open(make_model(), MAIN, "tokenizer")


def test_a_server_that_is_not_there_is_told_with_the_way_to_start_it(monkeypatch):
    def refuse(**_):
        raise vllm_client.ConnectionError("The vLLM server can't be reached")  # not Python's own

    monkeypatch.setattr(vllm_generation, "VLLMGeneration", refuse)
    with pytest.raises(MachineError, match=r"can't be reached; start it with: VLLM_SERVER_DEV_MODE=1 vllm serve"):
        VllmEngine(SERVED, Numbers()).open(make_model(), MAIN, "tokenizer")


# ── a stage ──


@pytest.mark.slow
def test_a_stage_is_played_by_vllm_and_its_update_corrects_for_it(monkeypatch, tmp_path):
    plan = plan_of("resources.vllm={mode: serve, base_url: 'http://127.0.0.1:9'}")
    engine = staged_engine(schooled())
    start = frozen_copy(engine.model)
    monkeypatch.setattr(engine, "complete", None)
    player = frozen_copy(staged_engine().model)
    made = generation(monkeypatch, player, max_model_len=4096)
    with StandIn(player) as server:
        settings = replace(VllmSettings.of(plan, plan.stages[-1], 1), base_url=server.url)
        rollout = VllmEngine(settings, engine.codec)
        _, log = train(plan, tmp_path, engine, rollout=rollout)
        asked = len(server.asked)
        asyncio.run(rollout.complete([request_of((7, 8), "after")]))
    assert made[0].num_synced == 3
    assert all(torch.equal(a, b) for a, b in zip(engine.model.parameters(), player.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(engine.model.parameters(), start.parameters(), strict=True))
    for metrics in log.metrics:
        assert 0 < metrics["mismatch/abs_difference"] < 0.05
        assert 0 < metrics["mismatch/kl"] < 1e-3
        assert math.isfinite(metrics["update/loss"])
        assert metrics["update/loss"] != 0
    sequences = [
        one for groups in log.groups for group in groups for own in group.trajectories for one in own.sequences
    ]
    trained = Counter(
        pair for one in sequences for pair in zip(one.completion_ids, one.logprobs, one.mask, strict=True)
    )
    sent = Counter(
        (int(token.removeprefix("token_id:")), logprob, 1)
        for _, choice in server.sent[:asked]
        for token, logprob in zip(choice["logprobs"]["tokens"], choice["logprobs"]["token_logprobs"], strict=True)
    )
    assert {pair: number for pair, number in trained.items() if pair[2]} == sent


def test_a_plan_without_vllm_has_no_settings_of_it():
    plan = plan_of()
    assert VllmSettings.of(plan, plan.stages[-1], 1) is None
    with_vllm = plan_of("resources.vllm={mode: colocate, memory_share: 0.5}", "resources.rollout_batch_size=8")
    assert VllmSettings.of(with_vllm, with_vllm.stages[-1], 2) == VllmSettings(
        "colocate", None, 0.5, 1, with_vllm.stages[-1].max_context, 8
    )
