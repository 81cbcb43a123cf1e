from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.compiler.shapes import (
    KNOWN_SHAPES,
    ModelShape,
    lora_parameters,
    num_parameters,
    shape_from_config,
    shape_of,
    tiny_shape,
)

# What the published checkpoints hold, as their safetensors headers say.
PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-1.7B": 1_720_574_976,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
}

QWEN3 = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 40960,
}

sizes = st.integers(1, 64)
shapes = st.builds(
    lambda name, kv, group, head, tied, **rest: ModelShape(
        name=name, num_heads=kv * group, num_kv_heads=kv, head_dim=head, tied=tied, **rest
    ),
    name=st.just("drawn"),
    kv=st.integers(1, 4),
    group=st.integers(1, 4),
    head=sizes,
    tied=st.booleans(),
    hidden_size=sizes,
    num_layers=sizes,
    intermediate_size=sizes,
    vocab_size=sizes,
    qkv_bias=st.booleans(),
    qk_norm=st.booleans(),
)


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_known_model_has_the_parameters_of_its_checkpoint(name, parameters):
    assert num_parameters(KNOWN_SHAPES[name]) == parameters


def test_every_known_id_is_a_variant_of_a_published_count():
    assert {num_parameters(shape) for shape in KNOWN_SHAPES.values()} == set(PUBLISHED.values())


def test_a_known_shape_carries_its_own_name_and_the_positions_of_that_checkpoint():
    assert all(shape.name == name for name, shape in KNOWN_SHAPES.items())
    assert KNOWN_SHAPES["Qwen/Qwen2.5-1.5B"].max_positions == 131072
    assert KNOWN_SHAPES["Qwen/Qwen2.5-1.5B-Instruct"].max_positions == 32768
    assert KNOWN_SHAPES["Qwen/Qwen2.5-Math-1.5B"].max_positions == 4096


def test_a_tiny_model_is_counted_by_hand():
    embeddings = 512 * 96
    attention = 4 * 96 * 96  # q, k, v, o
    mlp, norms = 3 * 96 * 256, 2 * 96
    assert num_parameters(tiny_shape()) == embeddings + 2 * (attention + mlp + norms) + 96


def test_a_tiny_model_has_the_parameters_that_its_engine_makes():
    pytest.importorskip("torch")
    from gift_dsl.engines.tiny import make_model, make_tokenizer

    sizes = {"hidden_size": 48, "layers": 3, "heads": 3, "intermediate_size": 80, "max_positions": 64}
    tokenizer = make_tokenizer(["a", "b", "c"], sizes["max_positions"])
    made = make_model(sizes, tokenizer, seed=1)
    shape = tiny_shape(hidden_size=48, num_layers=3, num_heads=3, intermediate_size=80, vocab_size=len(tokenizer))
    assert num_parameters(shape) == sum(parameter.numel() for parameter in made.parameters())


def test_a_tiny_model_needs_heads_that_divide_its_width():
    with pytest.raises(ValueError, match=r"hidden_size 96 is not a multiple of num_heads 5"):
        tiny_shape(num_heads=5)


@given(shape=shapes)
def test_an_untied_head_costs_one_more_embedding_matrix(shape):
    tied, untied = replace(shape, tied=True), replace(shape, tied=False)
    assert num_parameters(untied) - num_parameters(tied) == shape.vocab_size * shape.hidden_size


@given(shape=shapes)
def test_layers_cost_the_same_each(shape):
    counts = [num_parameters(replace(shape, num_layers=layers)) for layers in (1, 2, 3)]
    assert counts[2] - counts[1] == counts[1] - counts[0] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_layers": 0}, "num_layers is 0, must be at least 1"),
        ({"intermediate_size": 0}, "intermediate_size is 0"),
        ({"num_kv_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ({"num_experts": 4}, "moe_intermediate_size is 0"),
        ({"num_experts": 2, "moe_intermediate_size": 8, "num_experts_per_token": 3}, "is more than num_experts 2"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_with_its_number(change, message):
    with pytest.raises(ValueError, match=message):
        replace(tiny_shape(), **change)


def test_lora_adapters_are_counted_by_hand():
    shape = KNOWN_SHAPES["Qwen/Qwen2.5-1.5B"]  # 1536 wide, 28 layers, keys and values 256 wide, MLP 8960
    assert lora_parameters(shape, 16, ["q_proj"]) == 28 * 16 * (1536 + 1536)
    assert lora_parameters(shape, 8, ["k_proj", "down_proj", "k_proj"]) == 28 * 8 * (1536 + 256 + 8960 + 1536)


@pytest.mark.parametrize(
    ("rank", "targets", "message"),
    [
        (0, ["q_proj"], "LoRA rank is 0"),
        (8, [], "got none"),
        (8, ["q_proj", "c_attn"], "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj; got c_attn"),
    ],
)
def test_an_adapter_that_cannot_be_is_refused(rank, targets, message):
    with pytest.raises(ValueError, match=message):
        lora_parameters(tiny_shape(), rank, targets)


def test_experts_cannot_carry_adapters():
    experts = replace(tiny_shape(), num_experts=4, moe_intermediate_size=8, num_experts_per_token=2)
    with pytest.raises(ValueError, match="got down_proj"):
        lora_parameters(experts, 8, ["down_proj"])


def test_a_config_gives_the_same_shape_as_the_known_id():
    assert shape_from_config(QWEN3, "Qwen/Qwen3-0.6B") == KNOWN_SHAPES["Qwen/Qwen3-0.6B"]


@pytest.mark.parametrize(
    "field",
    ["model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings"],
)
def test_a_config_that_lacks_a_field_is_refused_by_its_name(field):
    config = {key: value for key, value in QWEN3.items() if key != field}
    with pytest.raises(ValueError, match=f"config.json of mine lacks {field}"):
        shape_from_config(config, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": "1024"}, "hidden_size is '1024', must be an integer"),
        ({"vocab_size": True}, "vocab_size is True, must be an integer"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not one of qwen2, qwen3"),
        ({"attention_bias": True}, "attention_bias is not supported"),
        ({"model_type": "qwen3_moe"}, "lacks num_experts"),
        ({"model_type": "qwen3_moe", "decoder_sparse_step": 2}, "layers without experts"),
        ({"model_type": "qwen3_moe", "mlp_only_layers": [0]}, "layers without experts"),
    ],
)
def test_a_config_that_is_not_counted_exactly_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        shape_from_config(QWEN3 | change, "mine")


def test_sizes_that_a_config_may_leave_out_follow_from_the_others():
    config = {key: value for key, value in QWEN3.items() if key not in ("head_dim", "num_key_value_heads")}
    shape = shape_from_config(config | {"model_type": "llama", "head_dim": None, "tie_word_embeddings": False}, "mine")
    assert (shape.head_dim, shape.num_kv_heads, shape.tied) == (64, 16, False)


def test_a_folder_on_this_machine_wins_over_a_known_id(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN3 | {"num_hidden_layers": 2}))
    assert shape_of("Qwen/Qwen3-0.6B", tmp_path) == replace(KNOWN_SHAPES["Qwen/Qwen3-0.6B"], num_layers=2)


def test_a_folder_without_a_config_falls_back_to_the_known_id(tmp_path):
    assert shape_of("Qwen/Qwen3-0.6B", tmp_path) == KNOWN_SHAPES["Qwen/Qwen3-0.6B"]
    assert shape_of("somebody/unheard-of", tmp_path) is None
    assert shape_of("somebody/unheard-of") is None


@pytest.mark.parametrize("text", ["{", "[1]", "\xff", "[" * 100_000], ids=["cut", "list", "latin-1", "deep"])
def test_a_config_that_is_no_json_object_is_refused(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"config.json of mine is not"):
        shape_of("mine", tmp_path)


FAMILIES = {
    "qwen2": ("Qwen2Config", {"tie_word_embeddings": True}),
    "qwen2-untied": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 24}),
    "qwen3-moe": (
        "Qwen3MoeConfig",
        {"head_dim": 24, "num_experts": 8, "moe_intermediate_size": 40, "num_experts_per_tok": 2},
    ),
    "llama": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama-wide-heads": ("LlamaConfig", {"head_dim": 24}),
    "mistral": ("MistralConfig", {}),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_config_that_transformers_writes_counts_the_model_that_it_builds(family, tmp_path):
    import torch
    import transformers

    name, options = FAMILIES[family]
    config = getattr(transformers, name)(
        hidden_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=96,
        vocab_size=211,
        max_position_embeddings=128,
        **options,
    )
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shape = shape_of(family, tmp_path)
    assert shape is not None
    assert num_parameters(shape) == sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_known_shape_is_the_model_that_transformers_builds(name):
    import torch
    import transformers

    shape = KNOWN_SHAPES[name]
    family = "Qwen2" if shape.qkv_bias else ("Qwen3" if shape.qk_norm else "Llama")
    config = getattr(transformers, f"{family}Config")(
        hidden_size=shape.hidden_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.intermediate_size,
        vocab_size=shape.vocab_size,
        tie_word_embeddings=shape.tied,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    assert num_parameters(shape) == sum(parameter.numel() for parameter in model.parameters())
