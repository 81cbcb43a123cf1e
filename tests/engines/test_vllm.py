"""vLLM's turns arrive as they were sampled, whatever order or trouble they come in. No real vLLM has run here."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
import torch

from gift_dsl.engines.served import ServedModel, Server, sampling_fields, server_address
from gift_dsl.errors import MachineError
from gift_dsl.players.backoff import Backoff
from gift_dsl.seat import PlayerFault
from tests.engines.small import ENDS, Numbers, engine_of, logprobs_after, make_model, request_of
from tests.engines.standin import FIELDS, StandIn

torch.set_num_threads(1)
CONTEXT = (7, 18, 29, 40)


def requests_of(number, **options):
    return [request_of((*CONTEXT, 8 + place), f"{place}", **options) for place in range(number)]


def served(server, **options):
    return ServedModel(Server(server.url, **{"retries": 2, "backoff": Backoff(base_s=0.001), **options}), ENDS)


def bf16_engine():
    return engine_of(make_model(), compute="bf16")


# ── served ──


def test_ids_and_log_probabilities_arrive_as_they_were_sent_though_the_last_was_answered_first():
    requests = requests_of(8, max_tokens=9)
    with StandIn(bf16_engine(), batch=8) as server:
        completions = asyncio.run(served(server).complete(requests))
    assert [body for body, _ in server.sent] == server.asked[::-1]
    sent = {tuple(body["prompt"]): choice for body, choice in server.sent}
    for request, completion in zip(requests, completions, strict=True):
        choice = sent[request.context]
        assert [f"token_id:{token}" for token in completion.ids] == choice["logprobs"]["tokens"]
        assert list(completion.logprobs) == choice["logprobs"]["token_logprobs"]
        assert completion.finish_reason == choice["finish_reason"]


def test_a_turn_ends_with_an_end_or_is_cut_at_its_limit():
    with StandIn(bf16_engine()) as server:
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

    with StandIn(engine_of(codec=Numbers(frozenset())), change=cut) as server:
        (one,) = asyncio.run(served(server).complete(requests_of(1, max_tokens=6)))
    assert (len(one.ids), one.finish_reason) == (1, "stop" if one.ids[-1] in ENDS else "length")


def test_everything_that_samples_is_said_and_no_two_requests_share_a_seed():
    requests = requests_of(6, temperature=0.7)
    with StandIn(bf16_engine()) as server:
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
    with StandIn(bf16_engine()) as server:
        (one,) = asyncio.run(served(server).complete(requests_of(1, temperature=0)))
    assert set(one.logprobs) == {0.0}


def test_scores_are_those_of_a_forward_pass_and_the_rank_tells_what_is_greedy():
    engine = engine_of(make_model())
    greedy = tuple(int(logprobs_after(engine.model, CONTEXT)[-1].argmax()) for _ in range(1))
    continuations = [greedy, (9, 10, 11), ()]
    with StandIn(engine) as server:
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
    with StandIn(bf16_engine(), faults=[fault, fault]) as server:
        completions = asyncio.run(served(server).complete(requests))
    assert len(completions) == 3
    assert sorted(Counter(tuple(body["prompt"]) for body in server.asked).values()) in ([1, 1, 3], [1, 2, 2])


@pytest.mark.parametrize(
    ("fault", "words"), [(500, "HTTP 500"), ("text", "no completion in the reply"), ("abort", "ended with `abort`")]
)
def test_what_does_not_pass_is_a_fault_that_names_the_server(fault, words):
    with StandIn(bf16_engine(), faults=[fault] * 3) as server, pytest.raises(PlayerFault, match=words) as caught:
        asyncio.run(served(server).complete(requests_of(1)))
    assert caught.value.endpoint == f"127.0.0.1:{server.port}"
    assert len(server.asked) == 3


def test_a_request_that_takes_too_long_is_asked_again():
    with StandIn(bf16_engine(), faults=["hang"]) as server:
        completions = asyncio.run(served(server, timeout_s=0.3).complete(requests_of(1)))
    assert (len(completions), len(server.asked)) == (1, 2)


@pytest.mark.parametrize("status", [400, 404])
def test_what_asking_again_cannot_change_is_told_in_the_words_of_the_server(status):
    with StandIn(bf16_engine(), faults=[status]) as server, pytest.raises(MachineError, match="maximum context length"):
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

    with StandIn(bf16_engine(), change=change) as server, pytest.raises(MachineError, match=words):
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

    with StandIn(bf16_engine(), faults=[fault] * 5) as server:
        assert asyncio.run(play(server)) == set()


@pytest.mark.parametrize(
    "address", ["http://host:8000", "http://host:8000/", "http://host:8000/v1", "http://host:8000/v1/"]
)
def test_an_address_may_be_written_with_or_without_its_version(address):
    assert server_address(address) == "http://host:8000"
    assert Server(address).url == "http://host:8000/v1/completions"
