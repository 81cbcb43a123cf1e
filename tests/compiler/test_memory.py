from __future__ import annotations

import weakref
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gift_dsl.compiler.memory import NOTE, Guest, MemoryEstimate, MemoryInputs, estimate_memory, kv_cache_bytes
from gift_dsl.compiler.shapes import KNOWN_SHAPES, ModelShape, num_parameters, tiny_shape

GIB = 2**30
QWEN_1B5 = KNOWN_SHAPES["Qwen/Qwen2.5-1.5B"]  # 1,543,714,304 parameters: 5.7508 GiB at 4 bytes
TOY = ModelShape("toy", 8, 3, 2, 1, 4, 16, 32, tied=True)  # h 8, 3 layers, q 8, k 4, f 16, V 32

RESIDENT = ("weights", "master_weights", "optimizer", "reference", "opponents")
UPDATE = ("gradients", "casts", "activations", "logits", "buffers")
ROLLOUT = ("engine", "snapshots", "kv_cache", "opponent_caches", "sampling")


def plan(shape: ModelShape = QWEN_1B5, **choices) -> MemoryInputs:
    return MemoryInputs(**{"shape": shape, "longest_tokens": 8500, "rollout_batch": 16} | choices)


def estimate(shape: ModelShape = QWEN_1B5, **choices) -> MemoryEstimate:
    return estimate_memory(plan(shape, **choices))


def close(gib: float):
    return pytest.approx(gib, abs=5e-4)


guests = st.builds(
    Guest,
    shape=st.sampled_from([TOY, KNOWN_SHAPES["Qwen/Qwen2.5-7B"]]),
    copies=st.integers(0, 3),
    stays=st.booleans(),
    conversations=st.integers(0, 600),
    tokens=st.integers(0, 100_000),
)


@st.composite
def plans(draw) -> MemoryInputs:
    compute = draw(st.sampled_from(["bf16", "fp32"]))
    return MemoryInputs(
        shape=draw(st.sampled_from([TOY, tiny_shape(), *KNOWN_SHAPES.values()])),
        compute=compute,
        weights=draw(st.sampled_from(["bf16", "fp32"])) if compute == "bf16" else "fp32",
        optimizer=draw(st.sampled_from(["adamw", "muon"])),
        lora_rank=draw(st.sampled_from([None, 1, 16])),
        gradient_checkpointing=draw(st.booleans()),
        backend=draw(st.sampled_from(["none", "ddp", "fsdp", "zero2", "zero3"])),
        num_processes=draw(st.integers(1, 64)),
        micro_batch_size=draw(st.integers(1, 16)),
        longest_tokens=draw(st.integers(1, 40_000)),
        rollout_batch=draw(st.integers(0, 600)),
        reference_model=draw(st.booleans()),
        engine=draw(st.sampled_from(["transformers", "vllm-colocate", "vllm-serve"])),
        vllm_gpu_share=draw(st.sampled_from([None, 0.3, 0.9])),
        device_gib=draw(st.sampled_from([None, 24.0, 80.0])),
        guests=tuple(draw(st.lists(guests, max_size=2))),
        trains=draw(st.booleans()),
        attention=draw(st.sampled_from(["sdpa", "eager", "flash_attention_2"])),
        fused_head=draw(st.booleans()),
    )


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_bf16_over_fp32_masters_keeps_weights_gradients_and_both_moments_in_fp32():
    memory = estimate()
    assert memory.weights == close(5.7508)
    assert memory.master_weights == 0  # the fp32 weights are the masters
    assert memory.gradients == close(5.7508)
    assert memory.optimizer == close(2 * 5.7508)


def test_stored_bf16_halves_all_of_them():
    memory = estimate(weights="bf16")
    assert (memory.weights, memory.gradients, memory.optimizer) == (close(2.8754), close(2.8754), close(5.7508))


def test_zero2_repeats_bf16_weights_and_shares_out_masters_gradients_and_moments():
    memory = estimate(backend="zero2", num_processes=8)
    assert memory.weights == close(2.8754)
    assert memory.master_weights == close(5.7508 / 8)
    assert memory.gradients == close(2.8754 / 8)
    assert memory.optimizer == close(2 * 5.7508 / 8)


def test_zero3_shares_out_the_weights_too():
    assert estimate(backend="zero3", num_processes=8).weights == close(2.8754 / 8)


def test_deepspeed_keeps_fp32_masters_whatever_the_weights_are_stored_in():
    stored, masters = (estimate(backend="zero2", weights=weights) for weights in ("bf16", "fp32"))
    assert stored == masters


def test_fsdp_shares_out_fp32_weights_gradients_and_moments():
    memory = estimate(backend="fsdp", num_processes=4)
    terms = (memory.weights, memory.gradients, memory.optimizer)
    assert terms == (close(5.7508 / 4), close(5.7508 / 4), close(2 * 5.7508 / 4))
    assert memory.casts == 0  # what is gathered is bf16 already


def test_ddp_copies_the_gradients_into_buckets_once_there_are_two_processes():
    assert estimate(backend="ddp", num_processes=1).buffers == 0
    assert estimate(backend="ddp", num_processes=2).buffers == close(5.7508)


def test_lora_trains_its_adapters_alone():
    adapters = 28 * 16 * ((1536 + 1536) + 2 * (1536 + 256) + (1536 + 1536)) * 4 / GIB  # fp32
    memory = estimate(lora_rank=16, reference_model=True)
    assert memory.weights == close(5.7508 + adapters)
    assert memory.gradients == pytest.approx(adapters)
    assert memory.optimizer == pytest.approx(2 * adapters)
    assert memory.reference == 0  # its reference is itself without adapters


def test_a_reference_model_weighs_what_the_weights_weigh():
    assert estimate(reference_model=True).reference == close(5.7508)
    assert estimate(reference_model=True, backend="zero3", num_processes=2).reference == close(2.8754 / 2)
    assert estimate(reference_model=True, backend="zero2", num_processes=2).reference == close(2.8754)


def test_muon_keeps_one_moment_of_each_matrix_of_a_layer():
    matrices = 28 * (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960)
    rest = num_parameters(QWEN_1B5) - matrices
    assert estimate(optimizer="muon").optimizer == pytest.approx(4 * (matrices + 2 * rest) / GIB)
    assert estimate(optimizer="muon", lora_rank=4).optimizer == pytest.approx(estimate(lora_rank=4).optimizer / 2)


def test_autocast_holds_a_bf16_copy_of_every_trained_matrix_until_the_forward_pass_ends():
    matrices = 28 * (2 * 1536 * 1536 + 2 * 1536 * 256 + 3 * 1536 * 8960)
    assert estimate().casts == pytest.approx(2 * matrices / GIB)
    assert estimate(compute="fp32").casts == 0
    assert estimate(weights="bf16").casts == 0


def test_frozen_matrices_are_cast_one_by_one_under_checkpointing():
    assert estimate(lora_rank=16).casts < estimate().casts / 20
    assert estimate(lora_rank=16, gradient_checkpointing=False).casts == estimate().casts


def test_activations_and_the_tiles_of_the_fused_head_are_counted_by_hand():
    # fp32, 10 tokens: 24h; 2q + 2k; log-sum-exp of 2 heads; 4f; 3 such layers, then 3 streams where they end
    memory = estimate(TOY, compute="fp32", gradient_checkpointing=False, longest_tokens=10)
    layer = 24 * 8 + 4 * (2 * 8 + 2 * 4) + 4 * 2 + 4 * 4 * 16
    assert memory.activations * GIB == pytest.approx(10 * (3 * layer + 3 * 4 * 8))
    tile, hidden, head = 4 * 10 * (32768 + 8), 4 * 10 * 8, 4 * 32 * 8
    assert memory.logits * GIB == pytest.approx(tile + hidden + head)


def test_checkpointing_keeps_the_input_of_each_layer():
    memory = estimate(TOY, compute="fp32", longest_tokens=10)
    assert memory.activations * GIB == pytest.approx(10 * (3 * 4 * 8 + 3 * 4 * 8))


def test_a_plain_head_holds_all_logits_twice_and_their_log_softmax():
    memory = estimate(fused_head=False)
    casts_of_the_head = 2 * 151936 * 1536
    assert memory.logits == pytest.approx((8500 * 151936 * (2 + 4 + 4) + casts_of_the_head) / GIB)
    assert memory.logits > 10 * estimate().logits


def test_the_rollout_cache_has_the_compute_type_and_half_as_many_columns_again():
    elements = 2 * 28 * 2 * 128 * 8500 * 16
    assert estimate().kv_cache == pytest.approx(1.5 * 2 * elements / GIB)
    assert estimate(weights="bf16").kv_cache == estimate().kv_cache
    assert estimate(compute="fp32").kv_cache == pytest.approx(1.5 * 4 * elements / GIB)
    assert estimate(engine="vllm-colocate").kv_cache == pytest.approx(2 * elements / GIB)
    assert kv_cache_bytes(QWEN_1B5, tokens=8500, sequences=16, element_bytes=2) == 2 * elements


def test_the_engine_plays_256_rows_at_once_and_keeps_8_gib_of_the_others():
    row = estimate(rollout_batch=1).kv_cache
    assert estimate(rollout_batch=260).kv_cache == pytest.approx(260 * row)
    assert estimate(rollout_batch=1024).kv_cache == pytest.approx(256 * row + 8)
    assert estimate(rollout_batch=1024).sampling == estimate(rollout_batch=256).sampling


def test_a_batch_of_the_engine_takes_a_quarter_of_a_device_that_is_known():
    row = estimate(rollout_batch=1).kv_cache
    assert estimate(rollout_batch=40, device_gib=80).kv_cache == pytest.approx(40 * row)
    assert 20 < 100 * row - 8 < estimate(rollout_batch=100).kv_cache
    assert estimate(rollout_batch=100, device_gib=80).kv_cache == pytest.approx(20 + 8)
    assert estimate(rollout_batch=1, device_gib=1).kv_cache == row  # one must go


def test_a_colocated_vllm_takes_its_share_of_a_device_that_is_known():
    memory = estimate(engine="vllm-colocate", vllm_gpu_share=0.5, device_gib=80)
    assert memory.engine == close(2.8754)
    assert memory.engine + memory.kv_cache == pytest.approx(40)
    assert memory.sampling == 0


def test_a_share_smaller_than_the_weights_leaves_no_cache():
    assert estimate(engine="vllm-colocate", vllm_gpu_share=0.1, device_gib=24).kv_cache == 0


def test_a_served_vllm_lives_elsewhere():
    memory = estimate(engine="vllm-serve")
    assert memory.engine == memory.kv_cache == memory.sampling == 0
    assert memory.rollout_peak == memory.resident


def test_zero3_gathers_the_whole_model_to_generate():
    assert estimate(backend="zero3", num_processes=8).engine == close(2.8754)


QWEN_7B = KNOWN_SHAPES["Qwen/Qwen2.5-7B"]  # 7,615,616,512 parameters: 28.3704 GiB at 4 bytes


def test_the_whole_model_plays_where_its_shards_are_trained():
    assert estimate(backend="fsdp", num_processes=8).engine == close(2.8754)
    assert estimate(backend="fsdp", num_processes=8, compute="fp32").engine == close(5.7508)


def test_an_opponent_stays_on_the_device_in_the_type_that_weights_are_stored_in():
    rival = (Guest(shape=QWEN_7B),)
    for choices, gib in (({}, 28.3704), ({"weights": "bf16"}, 14.1852), ({"backend": "zero2"}, 28.3704)):
        without, beside = estimate(**choices), estimate(**choices, guests=rival)
        assert beside.opponents == close(gib)
        assert beside.training_peak - without.training_peak == close(gib)
        assert beside.rollout_peak - without.rollout_peak == close(gib)


def test_an_opponent_has_a_cache_of_its_own_layout_and_casts_its_head_under_autocast():
    rival = (Guest(shape=QWEN_7B, conversations=32, tokens=32 * 900),)
    without, beside = estimate(), estimate(guests=rival)
    assert beside.opponent_caches == pytest.approx(1.5 * 2 * 2 * 28 * 512 * 32 * 900 / GIB)
    assert beside.engine - without.engine == pytest.approx(2 * 152064 * 3584 / GIB)
    assert beside.sampling - without.sampling == pytest.approx(32 * 152064 * 14 / GIB)
    assert estimate(guests=rival, weights="bf16").engine == estimate(weights="bf16").engine
    assert beside.training_peak == estimate(guests=(Guest(shape=QWEN_7B),)).training_peak


def test_earlier_versions_of_the_policy_are_on_the_device_while_they_play_and_not_in_an_update():
    early = (Guest(shape=QWEN_1B5, copies=3, stays=False),)
    without, beside = estimate(), estimate(guests=early)
    assert beside.snapshots == close(3 * 5.7508)  # of fp32 weights, as a copy has them
    assert beside.opponents == 0
    assert beside.training_peak == without.training_peak
    assert beside.rollout_peak - without.rollout_peak == close(3 * 5.7508)
    assert estimate(guests=early, weights="bf16").snapshots == close(3 * 2.8754)
    assert estimate(guests=early, backend="fsdp", num_processes=2).snapshots == close(3 * 2.8754)
    assert estimate(guests=early, lora_rank=16).snapshots == close(3 * 5.7508)  # adapters are merged


def test_the_policy_in_another_seat_has_a_cache_and_no_weights_and_vllm_plays_it_where_there_is_one():
    itself = (Guest(shape=QWEN_1B5, copies=0, conversations=16, tokens=16 * 8500),)
    without, beside = estimate(), estimate(guests=itself)
    assert (beside.opponents, beside.snapshots, beside.engine) == (0, 0, without.engine)
    assert beside.opponent_caches == pytest.approx(without.kv_cache)
    assert estimate(guests=itself, engine="vllm-serve").opponent_caches == 0


def test_whoever_only_plays_has_weights_and_caches():
    memory = estimate(trains=False)
    assert memory.training_peak == memory.weights == close(5.7508)
    assert memory.rollout_peak == pytest.approx(memory.weights + memory.engine + memory.kv_cache + memory.sampling)
    assert memory.engine == pytest.approx(2 * 151936 * 1536 / GIB)  # frozen: the head, cast


def test_whoever_does_not_play_has_no_cache():
    memory = estimate(rollout_batch=0)
    assert memory.engine == memory.kv_cache == memory.sampling == 0


def test_a_padded_micro_batch_costs_more_than_its_tokens():
    one, four = (estimate(gradient_checkpointing=False, micro_batch_size=n, longest_tokens=8000 // n) for n in (1, 4))
    flash = estimate(
        gradient_checkpointing=False, micro_batch_size=4, longest_tokens=2000, attention="flash_attention_2"
    )
    assert four.activations > one.activations
    assert flash.activations == pytest.approx(one.activations)


def test_eager_attention_grows_with_the_square_of_the_length():
    scores = [estimate(attention=kind, gradient_checkpointing=False) for kind in ("eager", "flash_attention_2")]
    assert scores[0].activations - scores[1].activations > 28 * 12 * 8500**2 * 6 / GIB


def test_the_optimizer_step_of_deepspeed_is_the_worst_moment_of_short_sequences():
    memory = estimate(KNOWN_SHAPES["Qwen/Qwen2.5-7B"], backend="zero2", longest_tokens=256)
    assert memory.buffers == close(4 * 7_615_616_512 / GIB)
    assert memory.activations == memory.logits == 0


def test_the_note_says_that_nothing_was_measured():
    assert "not measured" in NOTE
    assert "25 %" in NOTE


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"num_processes": 0}, "num_processes is 0, must be at least 1"),
        ({"longest_tokens": 0}, "longest_tokens is 0"),
        ({"rollout_batch": -1}, "rollout_batch is -1, must be at least 0"),
        ({"vllm_gpu_share": 1.5}, r"vllm_gpu_share is 1.5, must be in \(0, 1\]"),
        ({"compute": "fp32", "weights": "bf16"}, "stored in bf16 cannot be computed with in fp32"),
    ],
)
def test_inputs_that_cannot_be_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        plan(**choice)


# ---- laws ------------------------------------------------------------------------------------------------------------


@given(inputs=plans())
def test_the_terms_add_up_to_the_peaks(inputs):
    terms = estimate_memory(inputs).terms()
    resident = sum(terms[name] for name in RESIDENT)
    assert set(terms) == {*RESIDENT, *UPDATE, *ROLLOUT, "training_peak", "rollout_peak", "peak"}
    assert terms["training_peak"] == pytest.approx(resident + sum(terms[name] for name in UPDATE))
    assert terms["rollout_peak"] == pytest.approx(resident + sum(terms[name] for name in ROLLOUT))
    assert terms["peak"] == max(terms["training_peak"], terms["rollout_peak"])
    assert all(term >= 0 for term in terms.values())


@given(inputs=plans(), more=st.integers(2, 64))
def test_more_processes_never_cost_a_device_more_where_work_is_shared(inputs, more):
    assume(inputs.backend != "ddp" or inputs.num_processes > 1)
    few, many = estimate_memory(inputs), estimate_memory(replace(inputs, num_processes=inputs.num_processes * more))
    for name in (*RESIDENT, "gradients", *ROLLOUT, "training_peak", "rollout_peak"):
        assert getattr(many, name) <= getattr(few, name)


@given(inputs=plans())
def test_zero3_lets_every_sharded_term_go_to_nothing(inputs):
    memory = estimate_memory(replace(inputs, backend="zero3", num_processes=10**9, guests=()))
    assert memory.resident + memory.gradients < 1e-3


@given(
    inputs=plans(),
    field=st.sampled_from(["longest_tokens", "micro_batch_size", "rollout_batch"]),
    more=st.integers(1, 1000),
)
def test_more_of_anything_never_needs_less(inputs, field, more):
    larger = replace(inputs, **{field: getattr(inputs, field) + more})
    before, after = estimate_memory(inputs), estimate_memory(larger)
    assert after.training_peak >= before.training_peak
    assert after.rollout_peak >= before.rollout_peak


@given(inputs=plans())
def test_a_lora_run_needs_less_than_a_full_one(inputs):
    assume(inputs.trains and inputs.shape.hidden_size >= 512)  # below, adapters are as large as what they adapt
    adapters, full = (estimate_memory(replace(inputs, lora_rank=rank)) for rank in (16, None))
    assert adapters.training_peak < full.training_peak
    assert adapters.rollout_peak < full.rollout_peak


@given(inputs=plans())
def test_checkpointing_never_needs_more(inputs):
    kept, again = (estimate_memory(replace(inputs, gradient_checkpointing=on)) for on in (False, True))
    assert again.training_peak <= kept.training_peak


@given(inputs=plans())
def test_a_reference_adds_its_weights_and_nothing_else(inputs):
    without, beside = (estimate_memory(replace(inputs, reference_model=on)) for on in (False, True))
    assert beside.peak - without.peak == pytest.approx(beside.reference)
    assert replace(beside, reference=0.0) == without


@given(inputs=plans())
def test_muon_never_keeps_more_than_adamw(inputs):
    muon, adamw = (estimate_memory(replace(inputs, optimizer=name)) for name in ("muon", "adamw"))
    assert muon.optimizer <= adamw.optimizer
    assert replace(muon, optimizer=0.0) == replace(adamw, optimizer=0.0)


# ---- against transformers, TRL and torch -----------------------------------------------------------------------------
# `fp32`, `autocast` (bf16 over fp32 weights) and `bf16` (stored) are the three ways a model computes on one device.

WAYS = {
    "fp32": {"compute": "fp32"},
    "autocast": {"compute": "bf16", "weights": "fp32"},
    "bf16": {"compute": "bf16", "weights": "bf16"},
}
SMALL = {
    "qwen2": ModelShape("qwen2", 64, 3, 4, 2, 16, 160, 211, tied=True, qkv_bias=True),
    "qwen3": ModelShape("qwen3", 64, 3, 4, 2, 32, 160, 211, tied=False, qk_norm=True),
    "qwen3_moe": ModelShape("qwen3_moe", 64, 3, 4, 2, 32, 160, 211, False, False, True, 8, 96, 2),
    "llama": ModelShape("llama", 64, 3, 4, 4, 16, 160, 211, tied=False),
}


def build(shape: ModelShape, way: str = "fp32", attention: str = "sdpa"):
    """The model of transformers with this shape, its weights drawn anew."""
    import torch
    import transformers

    family = "qwen3_moe" if shape.num_experts else "qwen3" if shape.qk_norm else "qwen2" if shape.qkv_bias else "llama"
    experts = {
        "num_experts": shape.num_experts,
        "moe_intermediate_size": shape.moe_intermediate_size,
        "num_experts_per_tok": shape.num_experts_per_token,
    }
    config = transformers.AutoConfig.for_model(
        family,
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tied,
        **(experts if shape.num_experts else {}),
    )
    dtype = torch.bfloat16 if way == "bf16" else torch.float32
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention, dtype=dtype)


def autocast(way: str):
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast")


def nbytes(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def train_once(model, way: str, optimizers) -> None:
    import torch

    with autocast(way):
        loss = model(input_ids=torch.zeros(1, 8, dtype=torch.long), use_cache=False).logits.float().logsumexp(-1).sum()
    loss.backward()
    for optimizer in optimizers:
        optimizer.step()


def states_of(optimizers):
    return [
        value
        for optimizer in optimizers
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    ]


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_weights_gradients_and_adamw_are_exact(family, way):
    import torch

    model = build(SMALL[family], way)
    optimizers = [torch.optim.AdamW(model.parameters())]
    train_once(model, way, optimizers)
    memory = estimate(SMALL[family], **WAYS[way])
    assert memory.weights * GIB == nbytes(model.parameters())
    assert memory.gradients * GIB == nbytes(parameter.grad for parameter in model.parameters())
    assert memory.optimizer * GIB == nbytes(states_of(optimizers))


@pytest.mark.slow
def test_the_states_of_muon_with_adamw_for_the_rest_are_exact():
    import torch

    model = build(SMALL["qwen2"])
    in_layers = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if ".layers." not in name or p.ndim != 2]
    optimizers = [torch.optim.Muon(in_layers), torch.optim.AdamW(rest)]
    train_once(model, "fp32", optimizers)
    assert estimate(SMALL["qwen2"], compute="fp32", optimizer="muon").optimizer * GIB == nbytes(states_of(optimizers))


def engine_of(model, way: str, prefill_tokens: int = 8192):
    """The engine in the process."""
    from gift_dsl.engines.transformers import EngineLimits, TransformersEngine
    from tests.engines.small import Numbers

    limits = EngineLimits(prefill_tokens=prefill_tokens)
    return TransformersEngine(model, Numbers(frozenset()), compute=WAYS[way]["compute"], limits=limits)


def answer(engine, rows: int, tokens: int, max_tokens: int) -> None:
    """Turns of rows that have nothing in common, in this thread."""
    from gift_dsl.seat import Request

    requests = [
        Request(tuple((7 * row + 3 * place) % 211 for place in range(tokens)), max_tokens, 1.0, (row,), 1, f"{row}", "")
        for row in range(rows)
    ]
    with engine._forward.ready():
        engine._complete(requests, lambda: None)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
def test_the_rollout_cache_is_that_of_the_engine(family, way):
    engine = engine_of(build(SMALL[family], way), way)
    answer(engine, rows=5, tokens=200, max_tokens=5)  # 307.5 columns, made 320
    counted = estimate(SMALL[family], longest_tokens=205, rollout_batch=5, **WAYS[way]).kv_cache
    assert counted * GIB * 320 / 307.5 == pytest.approx(engine.kept_bytes)


def saved_bytes(model, way: str, rows: int, tokens: int) -> int:
    """What autograd keeps of one forward pass below the head, weights themselves not counted."""
    import torch

    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor  # holds the storage, so that its address stays its own
        return tensor

    mask = torch.ones(rows, tokens, dtype=torch.long)
    if rows > 1:
        mask[0, 0] = 0
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(way):
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        hidden = model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    del hidden
    return total


def checkpoint(model) -> None:
    """Recompute each layer in the backward pass; transformers renamed the switch in 5.2x."""
    switch = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    switch({"use_reentrant": False})


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize(
    ("attention", "rows"), [("sdpa", 1), ("sdpa", 4), ("eager", 1)], ids=["alone", "padded", "eager"]
)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", SMALL)
def test_what_autograd_keeps_of_a_layer_is_what_was_counted(family, way, rows, attention, checkpointing):
    measured, counted = [], []
    for num_layers in (1, 3):
        shape = replace(SMALL[family], num_layers=num_layers)
        model = build(shape, way, attention).train()
        if checkpointing:
            checkpoint(model)
        measured.append(saved_bytes(model, way, rows, 96))
        memory = estimate(
            shape,
            gradient_checkpointing=checkpointing,
            micro_batch_size=rows,
            longest_tokens=96,
            attention=attention,
            **WAYS[way],
        )
        counted.append((memory.activations + (0 if checkpointing else memory.casts)) * GIB)
    assert counted[1] - counted[0] == pytest.approx(measured[1] - measured[0], rel=0.05)


def allocations():
    """A mode that adds up the bytes of all storages alive and keeps the most there ever were."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class Allocations(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.alive: dict[int, int] = {}
            self.now = self.most = 0

        def add(self, tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            if storage._cdata not in self.alive:
                self.alive[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.drop, storage._cdata)

        def drop(self, key: int) -> None:
            self.now -= self.alive.pop(key)

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            results = function(*args, **(kwargs or {}))
            for result in tree_iter(results):
                if isinstance(result, Tensor):
                    self.add(result)
            return results

    return Allocations()


def update(model, way: str, rows: int, tokens: int, fused: bool) -> None:
    """One forward and backward pass as TRL does it: its head, or all logits as transformers' own loss takes them."""
    import torch
    from trl.kernels import ChunkedLogProbFunction

    ids = torch.zeros(rows, tokens, dtype=torch.long)
    # A mask of ones is dropped after a look at its values, which tensors without storage do not have.
    mask = {"full_attention": None} if rows == 1 else torch.ones(rows, tokens, dtype=torch.long)
    with autocast(way):
        hidden = model.model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        if fused:
            taken, weight = hidden[:, :-1].flatten(0, 1).clone(), model.lm_head.weight
            labels, outputs = torch.zeros(len(taken), dtype=torch.long), ("log_probs", "entropy")
            logps, entropies, *_ = ChunkedLogProbFunction.apply(
                taken, weight, None, labels, 1.0, 32768, None, 1.0, outputs
            )
            loss = logps.mean() + entropies.mean()
        else:
            logits = model.lm_head(hidden)  # alive as long as the model's output is
            loss = model.loss_function(logits=logits, labels=ids, vocab_size=model.config.vocab_size)
            del logits
    del hidden
    loss.backward()


CUT = {  # real widths, fewer layers
    "Qwen/Qwen2.5-0.5B": 8,
    "Qwen/Qwen3-0.6B": 8,
    "Qwen/Qwen2.5-7B": 4,
}


@pytest.fixture
def triton_in_place(monkeypatch):
    """On a GPU Triton turns tiles of logits in place and products add up in fp32; the stand-ins for a CPU allocate."""
    kernels = pytest.importorskip("trl.kernels.chunked_logprob")
    for stand_in in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
        monkeypatch.setattr(kernels, stand_in, lambda *args, **kwargs: None)


@pytest.mark.slow
@pytest.mark.usefixtures("triton_in_place")
@pytest.mark.parametrize(
    ("rows", "tokens", "fused"), [(1, 8500, True), (4, 600, True), (1, 3000, False)], ids=["long", "padded", "plain"]
)
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CUT)
def test_the_peak_of_an_update_is_within_a_twentieth(name, way, checkpointing, rows, tokens, fused):
    from torch._subclasses.fake_tensor import FakeTensorMode

    shape = replace(KNOWN_SHAPES[name], num_layers=CUT[name])
    counter = allocations()
    with FakeTensorMode():
        model = build(shape, way).train()
        if checkpointing:
            checkpoint(model)
        for parameter in model.parameters():
            counter.add(parameter)
        with counter:
            update(model, way, rows, tokens, fused)  # the second micro-batch finds gradients
            counter.most = 0
            update(model, way, rows, tokens, fused)
    memory = estimate(
        shape,
        gradient_checkpointing=checkpointing,
        micro_batch_size=rows,
        longest_tokens=tokens,
        fused_head=fused,
        **WAYS[way],
    )
    fixed = memory.weights + memory.gradients
    swelling = memory.training_peak - memory.optimizer - fixed
    assert swelling == pytest.approx(counter.most / GIB - fixed, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_the_peak_of_a_rollout_is_within_a_twentieth(way):
    shape = ModelShape("wide", 64, 4, 4, 2, 16, 160, 4099, tied=True, qkv_bias=True)
    engine, counter = engine_of(build(shape, way), way, prefill_tokens=48), allocations()
    for parameter in engine.model.parameters():
        counter.add(parameter)
    with counter:
        answer(engine, rows=12, tokens=81, max_tokens=3)
    memory = estimate(shape, longest_tokens=84, rollout_batch=12, **WAYS[way])
    assert memory.rollout_peak - memory.optimizer == pytest.approx(counter.most / GIB, rel=0.05)
