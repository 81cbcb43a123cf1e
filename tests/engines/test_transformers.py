"""The engine answers each request as if it were alone and encoded anew, whatever it keeps, shares and leaves behind."""

from __future__ import annotations

import asyncio
import math
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import Lfm2Config

from gift_dsl.engines.forward import Forward, attention_windows
from gift_dsl.engines.transformers import EngineLimits, most_columns
from gift_dsl.errors import MachineError
from gift_dsl.seat import TokenPolicy
from tests.engines.small import (
    KINDS,
    VOCABULARY,
    Encoded,
    Numbers,
    assert_as_alone,
    complete,
    engine_of,
    logprobs_after,
    make_model,
    model_of,
    request_of,
    sample_alone,
)

ids_of = st.integers(7, VOCABULARY - 1)
texts = st.lists(ids_of, min_size=1, max_size=12).map(tuple)
NO_ENDS = Numbers(frozenset())


def ramp(start, stop):
    """Ids that are not all alike."""
    return tuple(7 + 11 * number % 53 for number in range(start, stop))


@st.composite
def limits(draw):
    """Some that make no difference, and some that cut every prompt and every batch."""
    return EngineLimits(
        prefill_tokens=draw(st.sampled_from([3, 20, 8192])),
        rows=draw(st.sampled_from([2, 256])),
        kept_bytes=draw(st.sampled_from([0, 60_000, 1 << 30])),
    )


@given(data=st.data())
@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_a_session_of_play_is_answered_turn_for_turn_as_if_each_request_were_alone(data):
    engine = engine_of(limits=data.draw(limits()))
    prompts = data.draw(st.lists(texts, min_size=1, max_size=3))
    members = data.draw(st.integers(1, 3))
    contexts = {(group, member): prompt for group, prompt in enumerate(prompts) for member in range(members)}
    for turn in range(3):
        playing = data.draw(
            st.permutations(sorted(contexts)).flatmap(
                lambda all_: st.integers(1, len(all_)).map(lambda number, all_=all_: all_[:number])
            )
        )
        requests = [
            request_of(
                contexts[group, member],
                f"{group}/{member}/{turn}",
                max_tokens=data.draw(st.sampled_from([1, 4, 12])),
                temperature=data.draw(st.sampled_from([0, 0.7, 1.0])),
                episode=f"{group}/{member}",
                group=str(group),
            )
            for group, member in playing
        ]
        completions = complete(engine, requests)
        assert_as_alone(model_of(), requests, completions)
        for place, completion in zip(playing, completions, strict=True):
            contexts[place] += completion.ids + data.draw(texts)
        engine.forget(f"{group}/{member}" for group, member in playing if data.draw(st.integers(0, 4)) == 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_layout_of_attention_is_masked_right(kind):
    model, engine = model_of(kind), engine_of(model_of(kind))
    engine.check()
    contexts = [ramp(0, 3), ramp(4, 21), ramp(0, 3), ramp(9, 17)]
    for turn in range(2):
        requests = [request_of(own, f"{kind}{turn}{place}", episode=str(place)) for place, own in enumerate(contexts)]
        completions = complete(engine, requests)
        assert_as_alone(model, requests, completions)
        contexts = [own + one.ids + ramp(1, 5) for own, one in zip(contexts, completions, strict=True)]


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_greedy_turns_are_those_of_generate(kind):
    model = model_of(kind)
    contexts = [ramp(0, 9), ramp(3, 24), ramp(5, 7)]
    requests = [request_of(own, place, max_tokens=16, temperature=0) for place, own in enumerate(contexts)]
    completions = complete(engine_of(model, NO_ENDS), requests)
    for own, completion in zip(contexts, completions, strict=True):
        ids = torch.tensor([own])
        expected = model.generate(ids, attention_mask=ids * 0 + 1, max_new_tokens=16, do_sample=False, pad_token_id=0)
        assert completion.ids == tuple(expected[0, len(own) :].tolist())


def test_what_a_checkpoint_wants_of_sampling_is_not_read():
    model = make_model()
    model.generation_config.update(top_k=1, temperature=0.1, repetition_penalty=5.0, do_sample=False)
    requests = [request_of(ramp(0, 6), name) for name in range(6)]
    assert_as_alone(model_of(), requests, complete(engine_of(model), requests))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_log_probabilities_are_those_of_a_training_forward_pass(temperature):
    context = ramp(0, 14)
    (one,) = complete(engine_of(codec=NO_ENDS), [request_of(context, "row", 20, temperature)])
    model = make_model().train()
    logits = model(torch.tensor([context + one.ids])).logits[0, len(context) - 1 : -1] / temperature
    expected = logits.log_softmax(-1).gather(-1, torch.tensor(one.ids)[:, None])[:, 0]
    assert torch.allclose(torch.tensor(one.logprobs), expected, atol=1e-5)


def test_the_prompt_of_a_group_is_encoded_once_and_a_later_turn_encodes_what_is_new():
    engine, prompt = engine_of(codec=NO_ENDS), ramp(0, 40)
    requests = [request_of(prompt, f"0/{member}", 3, episode=str(member)) for member in range(4)]
    with Encoded(model_of()) as encoded:
        completions = complete(engine, requests)
    # All but the last id once; that one, and each sampled id but the last, for every member.
    assert encoded.num_ids == 39 + 4 * 3
    later = [
        request_of(prompt + one.ids + ramp(2, 8), f"1/{member}", 1, episode=str(member))
        for member, one in enumerate(completions)
    ]
    with Encoded(model_of()) as encoded:
        complete(engine, later)
    assert encoded.num_ids == 4 * (1 + 6)


def test_a_context_that_was_rewritten_is_encoded_from_where_it_differs():
    engine, prompt = engine_of(codec=NO_ENDS), ramp(0, 30)
    (one,) = complete(engine, [request_of(prompt, 0, 10, episode="e")])
    rewritten = prompt + one.ids[:4] + ramp(0, 5)
    with Encoded(model_of()) as encoded:
        completions = complete(engine, [request_of(rewritten, 1, 1, episode="e")])
    assert encoded.num_ids <= 1 + 5 + 1
    assert_as_alone(model_of(), [request_of(rewritten, 1, 1)], completions, ends=frozenset())


def test_two_conversations_of_one_episode_are_both_kept():
    engine = engine_of(codec=NO_ENDS)
    contexts = {"first seat": ramp(0, 20), "second seat": ramp(0, 10) + ramp(20, 30)}
    for turn in range(2):
        for seat, context in contexts.items():
            with Encoded(model_of()) as encoded:
                (one,) = complete(engine, [request_of(context, f"{seat}{turn}", 1, episode="e")])
            assert encoded.num_ids == (20 if turn == 0 else 1 + 3)
            contexts[seat] = context + one.ids + ramp(3, 6)


def test_rows_that_have_ended_are_left_behind():
    lengths = [1, 1, 1, 2, 2, 16]
    requests = [request_of(ramp(place, place + 9), place, size) for place, size in enumerate(lengths)]
    engine = engine_of(codec=NO_ENDS)
    with Encoded(model_of()) as encoded:
        completions = complete(engine, requests)
    assert [rows for rows, columns in encoded.shapes if columns == 1] == [6] + [1] * 14
    assert_as_alone(model_of(), requests, completions, ends=frozenset())
    later = [
        request_of(one.context + two.ids + (9,), f"later{place}", 2, episode=one.episode)
        for place, (one, two) in enumerate(zip(requests, completions, strict=True))
    ]
    assert_as_alone(model_of(), later, complete(engine, later), ends=frozenset())


@pytest.mark.parametrize("most", [1, 7, 64])
def test_a_forward_pass_never_encodes_more_than_allowed(most):
    requests = [request_of(ramp(place, place + 5 * place + 2), place, 2) for place in range(6)]
    engine = engine_of(codec=NO_ENDS, limits=EngineLimits(prefill_tokens=most))
    with Encoded(model_of()) as encoded:
        completions = complete(engine, requests)
    assert all(rows * columns <= most or columns == 1 for rows, columns in encoded.shapes)
    assert_as_alone(model_of(), requests, completions, ends=frozenset())


def test_no_more_rows_than_allowed_are_generated_at_once():
    requests = [request_of(ramp(place, place + 6), place, 3) for place in range(7)]
    engine = engine_of(codec=NO_ENDS, limits=EngineLimits(rows=3))
    with Encoded(model_of()) as encoded:
        completions = complete(engine, requests)
    assert max(rows for rows, _ in encoded.shapes) == 3
    assert_as_alone(model_of(), requests, completions, ends=frozenset())


@pytest.mark.parametrize(("most_bytes", "sizes"), [(10_000, [1, 1, 1, 1, 1]), (17_000, [2, 2, 1]), (41_000, [5])])
def test_no_more_keys_and_values_than_allowed_are_generated_with_at_once(most_bytes, sizes):
    # a row of 12 + 8 ids has 32 columns, each of 2 layers x 2 heads x 8 numbers x 4 bytes, twice: 8,192 bytes
    engine = engine_of(codec=NO_ENDS, limits=EngineLimits(batch_bytes=most_bytes))
    requests = [request_of(ramp(0, 12), f"{index}", 8) for index in range(5)]
    batches = [len(batch) for batch in engine._batches(requests)]
    assert batches == sizes
    assert_as_alone(model_of(), requests, complete(engine, requests), ends=frozenset())


def test_a_batch_is_as_wide_as_its_longest_row():
    engine = engine_of(limits=EngineLimits(batch_bytes=4 * 8192))
    requests = [request_of(ramp(0, size), f"{size}", 8) for size in (12, 12, 50, 50, 12)]  # 32 columns, or 96
    assert [len(batch) for batch in engine._batches(requests)] == [2, 1, 1, 1]


def test_a_quarter_of_a_gpu_is_for_the_keys_and_values_of_a_batch(monkeypatch):
    model = make_model()
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 4 * 256 * 100))
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert most_columns(model, torch.float32, None) == 100
    assert most_columns(model, torch.bfloat16, None) == 200
    monkeypatch.setattr(type(model), "device", torch.device("cpu"))
    assert most_columns(model, torch.float32, None) == float("inf")


def test_memory_is_released_when_episodes_are_forgotten():
    engine = engine_of()
    complete(engine, [request_of(ramp(0, 20), name, episode=name) for name in ("a", "b")])
    assert engine.kept_bytes > 0
    engine.forget(["a"])
    assert engine.kept_bytes > 0
    engine.forget(["b", "never heard of"])
    assert engine.kept_bytes == 0
    complete(engine, [request_of(ramp(0, 20), name, episode=name) for name in ("a", "b")])
    engine.forget()
    assert engine.kept_bytes == 0


def test_what_was_not_used_for_longest_is_dropped_first():
    engine = engine_of(codec=NO_ENDS)
    complete(engine, [request_of(ramp(0, 20), "a", 1, episode="a")])
    engine = engine_of(codec=NO_ENDS, limits=EngineLimits(kept_bytes=2 * engine.kept_bytes))
    for name in "abc":
        complete(engine, [request_of(ramp(0, 20), name, 1, episode=name)])
    assert 0 < engine.kept_bytes <= engine._limits.kept_bytes
    for name, encoded_ids in (("c", 1), ("a", 20)):
        with Encoded(model_of()) as encoded:
            complete(engine, [request_of(ramp(0, 20), f"{name} again", 1, episode=name)])
        assert encoded.num_ids == encoded_ids


def test_nothing_that_old_weights_computed_is_used_after_an_update():
    model = make_model()
    engine = engine_of(model)
    requests = [request_of(ramp(0, 20), name) for name in range(3)]
    before = complete(engine, requests)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    model(torch.tensor([ramp(0, 20)])).logits.square().sum().backward()
    optimizer.step()
    after = complete(engine, requests)
    assert_as_alone(model, requests, after)
    assert [one.logprobs for one in before] != [one.logprobs for one in after]


def test_a_model_in_training_samples_without_dropout_and_goes_on_training():
    model = make_model(attention_dropout=0.5).train()
    # the older name of two that transformers has had
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()
    requests = [request_of(ramp(0, 9), name) for name in range(3)]
    assert_as_alone(model_of(), requests, complete(engine_of(model), requests))
    assert model.training
    model(torch.tensor([ramp(0, 9)])).logits.sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_bf16_computes_in_bf16_over_weights_of_full_precision():
    model = model_of()
    request = request_of(ramp(0, 12), "bf16", 16)
    (one,) = complete(engine_of(codec=NO_ENDS, compute="bf16"), [request])
    exact = logprobs_after(model, request.context + one.ids)[len(request.context) - 1 : -1]
    exact = exact.gather(-1, torch.tensor(one.ids)[:, None])[:, 0]
    difference = (torch.tensor(one.logprobs) - exact).abs()
    assert 1e-4 < difference.max() < 0.3
    assert model.dtype == torch.float32


def test_others_are_heard_while_a_batch_is_generated():
    async def run():
        heard = asyncio.Event()

        async def speak():
            heard.set()

        waiting = asyncio.create_task(engine_of().complete([request_of(ramp(0, 9), "x")]))
        speaking = asyncio.create_task(speak())
        done, _ = await asyncio.wait({waiting, speaking}, return_when=asyncio.FIRST_COMPLETED)
        assert speaking in done
        await waiting

    asyncio.run(run())


def test_a_generation_that_nobody_waits_for_stops():
    started, engine = threading.Event(), engine_of(codec=NO_ENDS)
    hook = model_of().register_forward_pre_hook(lambda *_: started.set())

    async def run():
        task = asyncio.create_task(engine.complete([request_of(ramp(0, 9), "long", 400)]))
        await asyncio.to_thread(started.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        # Waits for its turn in the engine's thread.
        return await engine.complete([request_of(ramp(0, 9), "next", 4)])

    with Encoded(model_of()) as encoded:
        (one,) = asyncio.run(run())
    hook.remove()
    assert one.ids == sample_alone(model_of(), request_of(ramp(0, 9), "next", 4), ends=frozenset())[0]
    assert len(encoded.shapes) < 400


def test_an_empty_context_and_an_empty_turn_are_bugs_of_the_caller():
    for request in (request_of((), 0), request_of((7,), 0, max_tokens=0)):
        with pytest.raises(ValueError, match="at least one"):
            complete(engine_of(), [request])


def test_a_model_with_another_kind_of_memory_is_refused():
    config = Lfm2Config(vocab_size=61, hidden_size=32, num_hidden_layers=2, layer_types=["conv", "full_attention"])
    with pytest.raises(MachineError, match=r"lfm2 models: it has layers of the kind `conv`; use `resources\.vllm`"):
        attention_windows(config)


def test_a_model_that_takes_no_cache_is_refused(monkeypatch):
    engine = engine_of(make_model())

    def forward(*_, **__):
        raise TypeError("unexpected keyword argument 'past_key_values'")

    monkeypatch.setattr(Forward, "_forward", forward)
    with pytest.raises(MachineError, match="cannot generate with a Qwen2ForCausalLM: unexpected keyword"):
        engine.check()


def test_a_model_that_ignores_its_mask_is_refused(monkeypatch):
    engine = engine_of(make_model())
    monkeypatch.setattr(Forward, "_masks", lambda *_: torch.zeros(1, 1, 1, 1))
    with pytest.raises(MachineError, match="rows of different lengths disturb each other"):
        engine.check()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_told_as_such(value):
    model = make_model()
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[3, 5] = value
    with pytest.raises(MachineError, match=r"the logits of this Qwen2ForCausalLM are not finite \(NaN or infinity\)"):
        engine_of(model).check()


def test_the_engine_is_a_token_policy():
    assert isinstance(engine_of(), TokenPolicy)


def test_a_kernel_that_knows_no_masks_is_put_back_after_generation():
    model = make_model()
    model.set_attn_implementation("flex_attention")
    requests = [request_of(ramp(0, 3 + 4 * place), place) for place in range(3)]
    assert_as_alone(model_of(), requests, complete(engine_of(model), requests))
    assert model.config._attn_implementation == "flex_attention"
