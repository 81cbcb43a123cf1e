"""The size of a model, from the numbers of its config.json alone: no weights, no torch.

Counted exactly, and compared in the tests with the model that transformers builds: Qwen2 (and Qwen2.5), Qwen3,
Qwen3-MoE, Llama (and SmolLM2) and Mistral. Other families are refused rather than guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, cast

from gift_dsl.plan import frozen


@frozen
class ModelShape:
    """A decoder-only transformer with RMSNorm, RoPE, grouped-query attention and SwiGLU.

    Attributes:
        name: hub id, folder or preset, as it is shown to the user.
        hidden_size: width of the residual stream.
        num_layers: decoder layers, all alike.
        num_heads: query heads; a multiple of `num_kv_heads`.
        num_kv_heads: key and value heads.
        head_dim: width of one head; `num_heads * head_dim` may differ from `hidden_size` (Qwen3).
        intermediate_size: width of the dense MLP; unused where there are experts.
        vocab_size: rows of the embedding matrix, padding rows included (more than the tokenizer's tokens).
        tied: the LM head is the embedding matrix.
        qkv_bias: the q, k and v projections have a bias (Qwen2).
        qk_norm: queries and keys are normalised per head (Qwen3).
        num_experts: 0 for a dense model.
        moe_intermediate_size: width of one expert.
        num_experts_per_token: experts that each token visits.
        max_positions: longest sequence the checkpoint declares, in tokens.

    Raises:
        ValueError: a size below 1, heads that do not divide, or an incomplete set of expert sizes.
    """

    name: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied: bool
    qkv_bias: bool = False
    qk_norm: bool = False
    num_experts: int = 0
    moe_intermediate_size: int = 0
    num_experts_per_token: int = 0
    max_positions: int = 32768

    def __post_init__(self) -> None:
        sizes = ("hidden_size", "num_layers", "num_heads", "num_kv_heads", "head_dim", "vocab_size", "max_positions")
        experts = ("moe_intermediate_size", "num_experts_per_token")
        for field in (*sizes, *(experts if self.num_experts else ("intermediate_size",))):
            if getattr(self, field) < 1:
                raise ValueError(f"{self.name}: {field} is {getattr(self, field)}, must be at least 1")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"{self.name}: num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if self.num_experts_per_token > self.num_experts:
            raise ValueError(
                f"{self.name}: num_experts_per_token {self.num_experts_per_token} "
                f"is more than num_experts {self.num_experts}"
            )

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads together, and of all value heads together."""
        return self.num_kv_heads * self.head_dim

    @property
    def active_mlp_size(self) -> int:
        """Hidden units of the MLP that one token passes through."""
        return self.num_experts_per_token * self.moe_intermediate_size if self.num_experts else self.intermediate_size


def projections(shape: ModelShape) -> Mapping[str, tuple[int, int]]:
    """Input and output width of the linear maps of one layer, without the experts and their router."""
    hidden, mlp = shape.hidden_size, shape.intermediate_size
    maps = {
        "q_proj": (hidden, shape.query_size),
        "k_proj": (hidden, shape.kv_size),
        "v_proj": (hidden, shape.kv_size),
        "o_proj": (shape.query_size, hidden),
    }
    if not shape.num_experts:
        maps |= {"gate_proj": (hidden, mlp), "up_proj": (hidden, mlp), "down_proj": (mlp, hidden)}
    return maps


def layer_matrix_parameters(shape: ModelShape) -> int:
    """Weights of one layer that are matrices; the rest of the layer are norms and biases."""
    linear = sum(inputs * outputs for inputs, outputs in projections(shape).values())
    experts = shape.num_experts * 3 * shape.hidden_size * shape.moe_intermediate_size
    router = shape.num_experts * shape.hidden_size
    return linear + experts + router


def layer_vector_parameters(shape: ModelShape) -> int:
    """Norm weights and biases of one layer."""
    norms = 2 * shape.hidden_size + (2 * shape.head_dim if shape.qk_norm else 0)
    biases = shape.query_size + 2 * shape.kv_size if shape.qkv_bias else 0
    return norms + biases


def embedding_parameters(shape: ModelShape) -> int:
    """The embedding matrix and, where it is not tied, the LM head."""
    return (1 if shape.tied else 2) * shape.vocab_size * shape.hidden_size


def num_parameters(shape: ModelShape) -> int:
    """Every parameter, tied ones once: exactly what `sum(p.numel() for p in model.parameters())` gives."""
    layer = layer_matrix_parameters(shape) + layer_vector_parameters(shape)
    return embedding_parameters(shape) + shape.num_layers * layer + shape.hidden_size


def lora_parameters(shape: ModelShape, rank: int, targets: Iterable[str]) -> int:
    """Parameters of LoRA adapters (Hu et al. 2021, arXiv:2106.09685): rank * (inputs + outputs) for each map.

    Args:
        shape: the model that is adapted.
        rank: inner width of an adapter, at least 1.
        targets: names of `projections`, each adapted in every layer; a repeated name counts once.

    Raises:
        ValueError: a rank below 1, no target, or a target that the model does not have as a linear map.
    """
    maps = projections(shape)
    names = frozenset(targets)
    if rank < 1:
        raise ValueError(f"LoRA rank is {rank}, must be at least 1")
    if not names or names - maps.keys():
        unknown = ", ".join(sorted(names - maps.keys())) or "none"
        raise ValueError(f"LoRA targets of {shape.name} are {', '.join(maps)}; got {unknown}")
    return shape.num_layers * rank * sum(sum(maps[name]) for name in names)


def tiny_shape(
    *,
    hidden_size: int = 96,
    num_layers: int = 2,
    num_heads: int = 4,
    intermediate_size: int = 256,
    vocab_size: int = 512,
) -> ModelShape:
    """The preset `tiny`: Llama's layout with tied embeddings and as many key heads as query heads.

    Raises:
        ValueError: `hidden_size` is not a multiple of `num_heads`.
    """
    if hidden_size % num_heads:
        raise ValueError(f"tiny: hidden_size {hidden_size} is not a multiple of num_heads {num_heads}")
    return ModelShape(
        name="tiny",
        hidden_size=hidden_size,
        num_layers=num_layers,
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=hidden_size // num_heads,
        intermediate_size=intermediate_size,
        vocab_size=vocab_size,
        tied=True,
    )


_FAMILIES: Final = ("qwen2", "qwen3", "qwen3_moe", "llama", "mistral")


def shape_from_config(config: Mapping[str, object], name: str) -> ModelShape:
    """The shape that a checkpoint's config.json declares.

    Args:
        config: the parsed config.json of a text model.
        name: what to call the model in messages.

    Raises:
        ValueError: a missing or wrong field, by name, or a layout that is not counted exactly here.
    """
    family = _family(config, name)
    num_heads = _size(config, "num_attention_heads", name)
    hidden_size = _size(config, "hidden_size", name)
    dense = ModelShape(
        name=name,
        hidden_size=hidden_size,
        num_layers=_size(config, "num_hidden_layers", name),
        num_heads=num_heads,
        num_kv_heads=_size(config, "num_key_value_heads", name, default=num_heads),
        head_dim=_size(config, "head_dim", name, default=hidden_size // num_heads),
        intermediate_size=_size(config, "intermediate_size", name),
        vocab_size=_size(config, "vocab_size", name),
        tied=config.get("tie_word_embeddings", False) is True,
        qkv_bias=family == "qwen2",
        qk_norm=family in ("qwen3", "qwen3_moe"),
        max_positions=_size(config, "max_position_embeddings", name),
    )
    return _with_experts(dense, config) if family == "qwen3_moe" else dense


def _family(config: Mapping[str, object], name: str) -> str:
    family = config.get("model_type")
    if family is None:
        raise ValueError(f"config.json of {name} lacks model_type")
    if family not in _FAMILIES:
        raise ValueError(f"config.json of {name}: model_type {family!r} is not one of {', '.join(_FAMILIES)}")
    for field in ("attention_bias", "mlp_bias"):
        if config.get(field):
            raise ValueError(f"config.json of {name}: {field} is not supported")
    return cast("str", family)


def _with_experts(dense: ModelShape, config: Mapping[str, object]) -> ModelShape:
    if config.get("decoder_sparse_step", 1) != 1 or config.get("mlp_only_layers"):
        raise ValueError(f"config.json of {dense.name}: layers without experts (mlp_only_layers) are not supported")
    experts = "num_local_experts" if "num_local_experts" in config else "num_experts"
    return replace(
        dense,
        num_experts=_size(config, experts, dense.name),
        moe_intermediate_size=_size(config, "moe_intermediate_size", dense.name),
        num_experts_per_token=_size(config, "num_experts_per_tok", dense.name),
    )


def _size(config: Mapping[str, object], field: str, name: str, *, default: int | None = None) -> int:
    value = config.get(field)
    if value is None and default is not None:
        return default
    if value is None:
        raise ValueError(f"config.json of {name} lacks {field}")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"config.json of {name}: {field} is {value!r}, must be an integer of at least 1")
    return value


def shape_of(source: str, folder: Path | None = None) -> ModelShape | None:
    """The shape of a model on this machine or of a known hub id; reads at most one local file.

    Args:
        source: hub id or path, as the spec writes it.
        folder: where the checkpoint lies, if it is on this machine.

    Returns:
        None where neither a config.json nor a known id gives numbers.

    Raises:
        ValueError: there is a config.json, but it is not JSON or not a shape (see `shape_from_config`).
    """
    path = folder / "config.json" if folder else None
    if path is None or not path.is_file():
        return KNOWN_SHAPES.get(source)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config.json of {source} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"config.json of {source} is not a JSON object")  # noqa: TRY004  # a file, not a caller
    return shape_from_config(cast("dict[str, object]", config), source)


def _qwen2(width: tuple[int, int], layers: int, heads: tuple[int, int], *, vocab: int, tied: bool) -> ModelShape:
    return replace(_llama(width, layers, heads, vocab=vocab, tied=tied), qkv_bias=True)


def _qwen3(width: tuple[int, int], layers: int, heads: tuple[int, int], *, tied: bool) -> ModelShape:
    return replace(_llama(width, layers, heads, vocab=151936, tied=tied), head_dim=128, qk_norm=True)


def _llama(width: tuple[int, int], layers: int, heads: tuple[int, int], *, vocab: int, tied: bool) -> ModelShape:
    hidden, mlp = width
    return ModelShape("", hidden, layers, heads[0], heads[1], hidden // heads[0], mlp, vocab, tied)


_K: Final = 1024

# (hidden, mlp), layers, (query heads, kv heads); then the ids of this shape with the positions each of them declares.
_TABLE: Final[tuple[tuple[ModelShape, Mapping[str, int]], ...]] = (
    (
        _qwen2((896, 4864), 24, (14, 2), vocab=151936, tied=True),
        {"Qwen/Qwen2.5-0.5B": 32 * _K, "Qwen/Qwen2.5-0.5B-Instruct": 32 * _K},
    ),
    (
        _qwen2((1536, 8960), 28, (12, 2), vocab=151936, tied=True),
        {
            "Qwen/Qwen2.5-1.5B": 128 * _K,
            "Qwen/Qwen2.5-1.5B-Instruct": 32 * _K,
            "Qwen/Qwen2.5-Math-1.5B": 4 * _K,
            "Qwen/Qwen2.5-Math-1.5B-Instruct": 4 * _K,
        },
    ),
    (
        _qwen2((2048, 11008), 36, (16, 2), vocab=151936, tied=True),
        {"Qwen/Qwen2.5-3B": 32 * _K, "Qwen/Qwen2.5-3B-Instruct": 32 * _K},
    ),
    (
        _qwen2((3584, 18944), 28, (28, 4), vocab=152064, tied=False),
        {
            "Qwen/Qwen2.5-7B": 128 * _K,
            "Qwen/Qwen2.5-7B-Instruct": 32 * _K,
            "Qwen/Qwen2.5-Math-7B": 4 * _K,
            "Qwen/Qwen2.5-Math-7B-Instruct": 4 * _K,
        },
    ),
    (
        _qwen2((5120, 13824), 48, (40, 8), vocab=152064, tied=False),
        {"Qwen/Qwen2.5-14B": 128 * _K, "Qwen/Qwen2.5-14B-Instruct": 32 * _K},
    ),
    (
        _qwen2((5120, 27648), 64, (40, 8), vocab=152064, tied=False),
        {"Qwen/Qwen2.5-32B": 128 * _K, "Qwen/Qwen2.5-32B-Instruct": 32 * _K},
    ),
    (
        _qwen3((1024, 3072), 28, (16, 8), tied=True),
        {"Qwen/Qwen3-0.6B": 40 * _K, "Qwen/Qwen3-0.6B-Base": 32 * _K},
    ),
    (
        _qwen3((2048, 6144), 28, (16, 8), tied=True),
        {"Qwen/Qwen3-1.7B": 40 * _K, "Qwen/Qwen3-1.7B-Base": 32 * _K},
    ),
    (
        _qwen3((2560, 9728), 36, (32, 8), tied=True),
        {
            "Qwen/Qwen3-4B": 40 * _K,
            "Qwen/Qwen3-4B-Base": 32 * _K,
            "Qwen/Qwen3-4B-Instruct-2507": 256 * _K,
            "Qwen/Qwen3-4B-Thinking-2507": 256 * _K,
        },
    ),
    (
        _qwen3((4096, 12288), 36, (32, 8), tied=False),
        {"Qwen/Qwen3-8B": 40 * _K, "Qwen/Qwen3-8B-Base": 32 * _K},
    ),
    (
        _qwen3((5120, 17408), 40, (40, 8), tied=False),
        {"Qwen/Qwen3-14B": 40 * _K, "Qwen/Qwen3-14B-Base": 32 * _K},
    ),
    (_qwen3((5120, 25600), 64, (64, 8), tied=False), {"Qwen/Qwen3-32B": 40 * _K}),
    (
        _llama((2048, 8192), 16, (32, 8), vocab=128256, tied=True),
        {"meta-llama/Llama-3.2-1B": 128 * _K, "meta-llama/Llama-3.2-1B-Instruct": 128 * _K},
    ),
    (
        _llama((3072, 8192), 28, (24, 8), vocab=128256, tied=True),
        {"meta-llama/Llama-3.2-3B": 128 * _K, "meta-llama/Llama-3.2-3B-Instruct": 128 * _K},
    ),
    (
        _llama((4096, 14336), 32, (32, 8), vocab=128256, tied=False),
        {"meta-llama/Llama-3.1-8B": 128 * _K, "meta-llama/Llama-3.1-8B-Instruct": 128 * _K},
    ),
    (
        _llama((576, 1536), 30, (9, 3), vocab=49152, tied=True),
        {"HuggingFaceTB/SmolLM2-135M": 8 * _K, "HuggingFaceTB/SmolLM2-135M-Instruct": 8 * _K},
    ),
    (
        _llama((960, 2560), 32, (15, 5), vocab=49152, tied=True),
        {"HuggingFaceTB/SmolLM2-360M": 8 * _K, "HuggingFaceTB/SmolLM2-360M-Instruct": 8 * _K},
    ),
    (
        _llama((2048, 8192), 24, (32, 32), vocab=49152, tied=True),
        {"HuggingFaceTB/SmolLM2-1.7B": 8 * _K, "HuggingFaceTB/SmolLM2-1.7B-Instruct": 8 * _K},
    ),
)

KNOWN_SHAPES: Final[Mapping[str, ModelShape]] = MappingProxyType(
    {
        name: replace(shape, name=name, max_positions=max_positions)
        for shape, names in _TABLE
        for name, max_positions in names.items()
    }
)
"""Shapes by hub id, for planning without the hub. A config.json on this machine wins over them."""
