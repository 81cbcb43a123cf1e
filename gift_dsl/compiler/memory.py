"""Memory of one device, term by term, for a run that has not started: arithmetic only, nothing is allocated.

An update holds a fixed part (weights, gradients, optimizer states, ...) and a part that swells and shrinks. The
latter is largest at one of a few moments; the estimate names the terms of the worst one, so that they add up:

    last layer of the forward pass    kept activations, the layer's workspace, autocast's casts of every weight
    LM head, forward                  kept activations, casts of every weight, logits
    LM head, backward                 kept activations, logits, the gradient of the head
    first layer of the backward pass  kept activations, one layer in full, the gradient of a tied head
    embedding, backward               gradients of the vocabulary on their way to each other
    optimizer step                    nothing but what DeepSpeed adds: gradients in fp32

What a layer keeps follows Korthikanti et al. 2022 (arXiv:2205.05198, section 4.1: one device, no dropout), counted anew
for RMSNorm, SwiGLU, grouped queries and fused attention, which keeps no scores (their 5as^2b), and for what autocast
does. The counts were checked against transformers 5.23 and the fused LM head of TRL 1.16 by running them on tensors
without storage and adding up every allocation: within 2 % of the peak for Qwen2.5 0.5B to 7B, Qwen3 0.6B and 8B,
Llama 3.2 1B and SmolLM2 135M, 512 to 8500 tokens. On a GPU nothing was measured. Found there:

 * Under autocast the residual stream stays fp32, each of q, k, v, gate and up saves its own bf16 copy of the same
   input, and autocast keeps a bf16 copy of every trained matrix until the forward pass ends: 2 bytes a parameter,
   gradient checkpointing or not.
 * A padded micro-batch costs more than its tokens: the mask makes attention repeat keys and values for every query
   head and keep one score-sized mask a layer.
 * TRL's head never holds the logits of a sequence, but its gradient is a whole fp32 matrix of the vocabulary; with
   tied embeddings it waits for the end of the backward pass.

The rollout is that of `engines.transformers`, whose own numbers these are: keys and values in the compute type, half as
many columns again as the longest row of a batch has ids, at once 256 rows or as many as fit into a quarter of the
device, and 8 GiB of what earlier turns left.

Other models on the device are `Guest`s. A `local` opponent is loaded once and stays; an earlier version of the policy
waits on the CPU and is here from its first turn to the end of a rollout.

Left out: the CUDA context, fragmentation, NCCL, and the prefill of a rollout, which the engine cuts into pieces.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Final, Literal

from gift_dsl.compiler.shapes import (
    ModelShape,
    embedding_parameters,
    layer_matrix_parameters,
    layer_vector_parameters,
    lora_parameters,
    num_parameters,
)
from gift_dsl.plan import frozen

NOTE: Final = "estimated, not measured: expect +-25 %, plus the CUDA context and fragmentation"

Precision = Literal["bf16", "fp32"]
Optimizer = Literal["adamw", "muon"]
Backend = Literal["none", "ddp", "fsdp", "zero2", "zero3"]
Engine = Literal["transformers", "vllm-colocate", "vllm-serve"]
Attention = Literal["sdpa", "eager", "flash_attention_2"]

_GIB: Final = 2**30

# TRL 1.16's fused LM head works on tiles of this size, whatever the vocabulary.
_HEAD_TOKENS: Final = 4096
_HEAD_COLUMNS: Final = 32768

# DeepSpeed's defaults, which accelerate leaves alone unless a config file says "auto"; in elements.
_ZERO_REDUCE_BUCKET: Final = 500_000_000
_ZERO3_PREFETCH: Final = 50_000_000
_ZERO3_LIVE: Final = 1_000_000_000

# engines.transformers and engines.cache: rows of one batch, bytes kept between turns, and room for later turns.
_ENGINE_ROWS: Final = 256
_ENGINE_SHARE: Final = 0.25
_ENGINE_KEPT: Final = 8 << 30
_ENGINE_SLACK: Final = 1.5


@frozen
class Guest:
    """A model that plays beside the policy, by the engine in the process, and is not trained.

    Attributes:
        shape: its layout.
        copies: sets of weights on the device while it plays: of an opponent that is several earlier versions of the
            policy more than one, of the live policy in another seat none.
        stays: it is on the device all the time, as it was stored; else only while it plays, as the policy sees weights.
        conversations: that it holds on the device at the end of a rollout, or several at once with one episode's.
        tokens: of all of them together.
    """

    shape: ModelShape
    copies: int = 1
    stays: bool = True
    conversations: float = 0.0
    tokens: float = 0.0


@frozen
class MemoryInputs:
    """What decides the memory of one device; every field is a number or a choice of the plan.

    Attributes:
        shape: the trained model; opponents behind HTTP need nothing here.
        trains: False: it only plays, as in a final evaluation.
        compute: `bf16` runs matrix products in bf16.
        weights: what trained weights are stored in; `fp32` with `bf16` compute are master weights.
        optimizer: `muon` keeps one state for each matrix of a layer and AdamW's two for everything else.
        lora_rank: None trains every weight.
        lora_targets: the linear maps that get an adapter; ignored without `lora_rank`.
        gradient_checkpointing: keep only the input of each layer and compute the layer again in the backward pass.
        backend: how processes share the work; ZeRO is DeepSpeed's.
        num_processes: devices that train together.
        micro_batch_size: sequences in one forward pass on one device; above 1 they are padded to the longest.
        longest_tokens: tokens of the longest sequence, prompt included.
        rollout_batch: sequences of the policy alive at once on one device; 0: it does not play.
        rollout_tokens: tokens of the longest one; None: as in an update.
        reference_model: a frozen copy for the KL term; LoRA needs none, it switches its adapters off.
        engine: what samples; `vllm-serve` lives on other devices.
        vllm_gpu_share: share of the device that a colocated vLLM takes, in (0, 1]; counts with `device_gib` only.
        device_gib: memory of the device, where it is known: the engine in the process fits its batches to it.
        guests: other models on the device.
        waiting_copies: earlier versions of the policy in the memory of the CPU.
        attention: which code computes it; `eager` holds the scores of every head.
        fused_head: TRL's head, which computes log-probabilities from tiles of logits; else all logits at once.

    Raises:
        ValueError: a number out of its range, or weights stored in less than what computes.
    """

    shape: ModelShape
    longest_tokens: int
    rollout_batch: int
    trains: bool = True
    compute: Precision = "bf16"
    weights: Precision = "fp32"
    optimizer: Optimizer = "adamw"
    lora_rank: int | None = None
    lora_targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    gradient_checkpointing: bool = True
    backend: Backend = "none"
    num_processes: int = 1
    micro_batch_size: int = 1
    rollout_tokens: int | None = None
    reference_model: bool = False
    engine: Engine = "transformers"
    vllm_gpu_share: float | None = None
    device_gib: float | None = None
    guests: tuple[Guest, ...] = ()
    waiting_copies: int = 0
    attention: Attention = "sdpa"
    fused_head: bool = True

    def __post_init__(self) -> None:
        for field in ("num_processes", "micro_batch_size", "longest_tokens"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field} is {getattr(self, field)}, must be at least 1")
        if self.rollout_batch < 0:
            raise ValueError(f"rollout_batch is {self.rollout_batch}, must be at least 0")
        if self.vllm_gpu_share is not None and not 0 < self.vllm_gpu_share <= 1:
            raise ValueError(f"vllm_gpu_share is {self.vllm_gpu_share}, must be in (0, 1]")
        if self.compute == "fp32" and self.weights == "bf16":
            raise ValueError("weights stored in bf16 cannot be computed with in fp32")


@frozen
class MemoryEstimate:
    """GiB on one device. A term is 0 where it does not apply; terms add up to the peaks, exactly.

    `casts`, `activations`, `logits` and `buffers` are those of the worst moment of an update: `logits` is 0 where that
    is the last layer of the forward pass, although there are logits a moment later.

    Attributes:
        weights: parameters as stored, adapters included; sharded by `fsdp` and `zero3`.
        master_weights: DeepSpeed's fp32 partition of the trained parameters. Elsewhere fp32 masters *are* the weights.
        optimizer: states of the optimizer, in the type of what it updates; sharded by `fsdp`, `zero2` and `zero3`.
        reference: the frozen copy, stored and sharded as the weights are (`zero2` repeats it).
        opponents: weights of other models that stay on the device, in the type in which the policy is stored.
        gradients: of trained parameters, all of them, as from the second micro-batch on.
        casts: bf16 copies that autocast makes of fp32 matrices.
        activations: what the forward pass keeps for the backward pass, and the layer at work.
        logits: whatever has the length of the vocabulary: logits, and gradients of head and embedding on their way.
        buffers: of the backend: DDP's buckets, layers that FSDP and ZeRO-3 gather, ZeRO's reduce bucket, or, where the
            optimizer step is the worst moment, DeepSpeed's gradients in fp32.
        engine: weights that are there to play only: vLLM's copy, the whole one that plays where shards are trained,
            what autocast casts to generate.
        snapshots: earlier policies that play, whole (adapters merged), as the policy is given its weights.
        kv_cache: keys and values of the rollout, or the whole pool that vLLM reserves.
        opponent_caches: keys and values of the other models.
        sampling: next-token logits of a batch of each model, their fp32 probabilities and the running sum in fp64.
        waiting: not on the device and no term: earlier policies in the memory of the CPU, of one process.
        where: when in a run this is.
        left_out: opponents on the device whose size is not known, so that they are not counted.
    """

    weights: float = 0.0
    master_weights: float = 0.0
    optimizer: float = 0.0
    reference: float = 0.0
    opponents: float = 0.0
    gradients: float = 0.0
    casts: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    buffers: float = 0.0
    engine: float = 0.0
    snapshots: float = 0.0
    kv_cache: float = 0.0
    opponent_caches: float = 0.0
    sampling: float = 0.0
    waiting: float = 0.0
    where: str = ""
    left_out: tuple[str, ...] = ()

    @property
    def resident(self) -> float:
        """What stays on the device between rollout and update."""
        return self.weights + self.master_weights + self.optimizer + self.reference + self.opponents

    @property
    def training_peak(self) -> float:
        """The worst moment of an update; a colocated vLLM sleeps meanwhile."""
        return self.resident + self.gradients + self.casts + self.activations + self.logits + self.buffers

    @property
    def rollout_peak(self) -> float:
        """The end of a rollout, every sequence at its longest; gradients are gone, optimizer states are not."""
        caches = self.kv_cache + self.opponent_caches
        return self.resident + self.engine + self.snapshots + caches + self.sampling

    @property
    def peak(self) -> float:
        """What the device must hold."""
        return max(self.training_peak, self.rollout_peak)

    def terms(self) -> dict[str, float]:
        """Every term and the three peaks, by name, in the order they are printed."""
        names = [field.name for field in fields(self) if field.type == "float" and field.name != "waiting"]
        named = {name: float(getattr(self, name)) for name in names}
        peaks = {"training_peak": self.training_peak, "rollout_peak": self.rollout_peak, "peak": self.peak}
        return named | peaks


def estimate_memory(inputs: MemoryInputs) -> MemoryEstimate:
    """The memory that a device needs for a run: see `NOTE` for how far to trust it."""
    widths = _widths(inputs)
    shape = inputs.shape
    trained = _trained_parameters(inputs)
    base = num_parameters(shape) * widths.weight / widths.weight_shards
    adapters = 0.0 if inputs.lora_rank is None else trained * widths.trained_weight / widths.weight_shards
    worst = max(_moments(inputs, widths), key=_Moment.total) if inputs.trains else _Moment()
    return MemoryEstimate(
        weights=(base + adapters) / _GIB,
        master_weights=trained * widths.master / widths.state_shards / _GIB,
        optimizer=_optimizer_states(inputs) * widths.state / widths.state_shards / _GIB,
        reference=base / _GIB if inputs.reference_model and inputs.lora_rank is None else 0.0,
        opponents=_guest_weights(inputs, widths, stays=True) / _GIB,
        gradients=trained * widths.gradient / widths.state_shards / _GIB,
        casts=worst.casts / _GIB,
        activations=worst.activations / _GIB,
        logits=worst.logits / _GIB,
        buffers=worst.buffers / _GIB,
        engine=_engine(inputs, widths) / _GIB,
        snapshots=_guest_weights(inputs, widths, stays=False) / _GIB,
        kv_cache=_policy_cache(inputs, widths) / _GIB,
        opponent_caches=sum(_guest_cache(inputs, guest, widths) for guest in _players(inputs)) / _GIB,
        sampling=_sampling(inputs, widths) / _GIB,
        waiting=inputs.waiting_copies * num_parameters(shape) * widths.seen / _GIB,
    )


def kv_cache_bytes(shape: ModelShape, *, tokens: int, sequences: int, element_bytes: int) -> int:
    """Keys and values of every layer: 2 * layers * kv_heads * head_dim * bytes, for each token of each sequence."""
    return 2 * shape.num_layers * shape.kv_size * element_bytes * tokens * sequences


@frozen
class _Widths:
    """Bytes an element in each role, and over how many devices it is spread."""

    compute: int
    weight: int  # as stored between updates
    trained_weight: int  # the same of a LoRA adapter
    master: int
    gradient: int
    state: int
    seen: int  # a weight as the forward pass is given it
    residual: int  # the stream between layers
    expert: int  # what an MLP computes in
    autocast: bool
    weight_shards: int
    state_shards: int


def _widths(inputs: MemoryInputs) -> _Widths:
    """Who keeps what in which precision.

    * fp32: 4 bytes everywhere; DeepSpeed clones its partition of the weights even so.
    * bf16 over fp32 masters, none and ddp: accelerate's autocast. Weights, gradients and states stay fp32.
    * bf16 over fp32 masters, fsdp: shards stay fp32, what is gathered is bf16, and so is the residual stream.
    * bf16 stored, no DeepSpeed: weights, gradients and states of 2 bytes; adapters of LoRA stay fp32 (peft).
    * bf16 with DeepSpeed: bf16 weights and gradients, fp32 masters and states, whatever `weights` says.
    """
    deepspeed = inputs.backend in ("zero2", "zero3")
    stored = 2 if inputs.weights == "bf16" or (deepspeed and inputs.compute == "bf16") else 4
    autocast = inputs.compute == "bf16" and stored == 4 and inputs.backend != "fsdp"
    trained = 4 if inputs.lora_rank is not None and not deepspeed else stored
    shards = inputs.num_processes
    return _Widths(
        compute=2 if inputs.compute == "bf16" else 4,
        weight=stored,
        trained_weight=trained,
        master=4 if deepspeed else 0,
        gradient=trained,
        state=4 if deepspeed else trained,
        seen=4 if autocast or inputs.compute == "fp32" else 2,
        residual=4 if autocast or inputs.compute == "fp32" else 2,
        expert=4 if autocast and inputs.shape.num_experts else (2 if inputs.compute == "bf16" else 4),
        autocast=autocast,
        weight_shards=shards if inputs.backend in ("fsdp", "zero3") else 1,
        state_shards=shards if inputs.backend in ("fsdp", "zero2", "zero3") else 1,
    )


def _trained_parameters(inputs: MemoryInputs) -> int:
    if not inputs.trains:
        return 0
    if inputs.lora_rank is None:
        return num_parameters(inputs.shape)
    return lora_parameters(inputs.shape, inputs.lora_rank, inputs.lora_targets)


def _optimizer_states(inputs: MemoryInputs) -> int:
    """Elements of all states: AdamW two a parameter; Muon (Jordan et al. 2024) one a matrix, AdamW's for the rest."""
    trained = _trained_parameters(inputs)
    if inputs.optimizer == "adamw":
        return 2 * trained
    if inputs.lora_rank is not None or not trained:
        return trained
    return 2 * trained - inputs.shape.num_layers * layer_matrix_parameters(inputs.shape)


@frozen
class _Moment:
    """Bytes that are alive at one moment of an update, beyond what is alive throughout."""

    casts: float = 0.0
    activations: float = 0.0
    logits: float = 0.0
    buffers: float = 0.0

    def total(self) -> float:
        return self.casts + self.activations + self.logits + self.buffers


def _moments(inputs: MemoryInputs, widths: _Widths) -> tuple[_Moment, ...]:
    """The candidates for the worst moment, in the order of the module's docstring."""
    kept, buffers = _kept(inputs, widths), _buffers(inputs, widths)
    head_forward, head_backward, head_gradient = _head(inputs, widths)
    ended = kept + 3 * widths.residual * inputs.shape.hidden_size * _tokens(inputs)  # with the final norm's share
    forward, backward = _workspaces(inputs, widths)
    all_casts, layer_casts = _casts(inputs, widths)
    later_casts = 0.0 if inputs.gradient_checkpointing else all_casts
    forward_casts = max(later_casts, all_casts if inputs.lora_rank is None else layer_casts)
    tied_gradient = head_gradient if inputs.shape.tied else 0.0
    return (
        _Moment(casts=forward_casts, activations=kept + forward, buffers=buffers),
        _Moment(casts=forward_casts, activations=ended, logits=head_forward, buffers=buffers),
        _Moment(casts=later_casts, activations=ended, logits=head_backward, buffers=buffers),
        _Moment(
            casts=max(later_casts, layer_casts), activations=kept + backward, logits=tied_gradient, buffers=buffers
        ),
        _Moment(logits=head_gradient + 2 * tied_gradient, buffers=buffers),
        _Moment(buffers=_step_gradients(inputs, widths)),
    )


def _workspaces(inputs: MemoryInputs, widths: _Widths) -> tuple[float, float]:
    """Bytes of the layer at work beyond what is kept: in the forward pass under checkpointing, and in the backward.

    Forward: three widths of the MLP and two of the stream. Backward: the layer in full, where it is computed again,
    and two widths of the MLP. Eager attention needs two of its scores instead of them, if that is more, when the MLP
    is through.
    """
    mlp = widths.expert * inputs.shape.active_mlp_size * _tokens(inputs)
    scores = inputs.shape.num_heads * inputs.longest_tokens * _tokens(inputs) if inputs.attention == "eager" else 0
    backward = max(2 * mlp, (4 + widths.compute) * scores - 4 * mlp)
    if not inputs.gradient_checkpointing:
        return 0.0, backward
    stream = widths.residual * inputs.shape.hidden_size * _tokens(inputs)
    return max(3 * mlp, 8 * scores) + 2 * stream, backward + _layer_activations(inputs, widths)


def _kept(inputs: MemoryInputs, widths: _Widths) -> float:
    """Activations that wait for the backward pass when the last layer ends, the final norm not counted."""
    layers, mask = inputs.shape.num_layers, _tokens(inputs) * inputs.longest_tokens if _masked(inputs) else 0
    if inputs.gradient_checkpointing:
        return layers * widths.residual * inputs.shape.hidden_size * _tokens(inputs) + mask
    return layers * _layer_activations(inputs, widths) + mask


def _tokens(inputs: MemoryInputs) -> int:
    return inputs.micro_batch_size * inputs.longest_tokens


def _masked(inputs: MemoryInputs) -> bool:
    """Whether attention is given a mask of tokens * tokens: sdpa needs none for one unpadded sequence."""
    return inputs.attention == "eager" or (inputs.attention == "sdpa" and inputs.micro_batch_size > 1)


def _layer_activations(inputs: MemoryInputs, widths: _Widths) -> float:
    """Bytes that one layer saves for its backward pass; h, q, k, f are the widths of stream, queries, keys, MLP.

    A token needs, in elements of the compute type c: 2q (queries, attention's output), 2k (keys, values; 2q where a
    mask repeats them) and 4f (gate, up, their activation and product), and in bytes 4 a query head (log-sum-exp).
    What the stream and its two norms save differs:

        fp32       24h: twice its input, the normalised input and its product with the weight
        autocast   26h: twice its input and the normalised input in fp32, and five bf16 copies for q, k, v, gate, up
        bf16       16h: twice an fp32 copy of its input, the normalised input and its product with the weight

    `qk_norm` adds the like for queries and keys: 8 bytes each in fp32, else 6. Experts also keep the input and output
    of each that a token visits, and compute in fp32 under autocast, which does not know their grouped product.
    """
    shape, c = inputs.shape, widths.compute
    stream = 26 if widths.autocast else (24 if c == 4 else 16)
    head_norm = (8 if c == 4 else 6) * (shape.query_size + shape.kv_size) if shape.qk_norm else 0
    keys = shape.query_size if _masked(inputs) else shape.kv_size
    attention = c * (2 * shape.query_size + 2 * keys) + 4 * shape.num_heads + head_norm
    mlp = widths.expert * (4 * shape.active_mlp_size + 2 * shape.num_experts_per_token * shape.hidden_size)
    return _tokens(inputs) * (stream * shape.hidden_size + attention + mlp + _score_bytes(inputs, c))


def _score_bytes(inputs: MemoryInputs, c: int) -> float:
    """Bytes a token of what attention keeps a tokens * tokens matrix of.

    Eager: the softmax of every head in fp32 and as it was used; sdpa under a mask: the mask, as numbers to add.
    """
    match inputs.attention:
        case "eager":
            return inputs.longest_tokens * inputs.shape.num_heads * (4 + (c if c != 4 else 0))
        case "sdpa":
            return inputs.longest_tokens * c if _masked(inputs) else 0
        case "flash_attention_2":
            return 0


def _casts(inputs: MemoryInputs, widths: _Widths) -> tuple[float, float]:
    """Autocast's copies of the matrices of all layers, and of one; that of the head counts as logits."""
    if not widths.autocast:
        return 0.0, 0.0
    shape = inputs.shape
    experts = shape.num_experts * 3 * shape.hidden_size * shape.moe_intermediate_size
    layer = widths.compute * (layer_matrix_parameters(shape) - experts)
    return shape.num_layers * layer, layer


def _head(inputs: MemoryInputs, widths: _Widths) -> tuple[float, float, float]:
    """Bytes of the LM head at work forward, backward, and of its weight's gradient as autograd passes it on."""
    trained = inputs.shape.vocab_size * inputs.shape.hidden_size if inputs.lora_rank is None else 0
    forward, backward = (_fused_head if inputs.fused_head else _plain_head)(inputs, widths, trained)
    return forward, backward, trained * widths.seen


def _fused_head(inputs: MemoryInputs, widths: _Widths, trained: int) -> tuple[float, float]:
    """A tile of logits with its hidden states, and the rows of the weight it needs, twice, where they must be cast.

    Backward also fp32 gradients of all hidden states and of the whole weight, and the latter in the weight's type.
    """
    shape, c = inputs.shape, widths.compute
    tokens = _tokens(inputs)
    tile = c * min(tokens, _HEAD_TOKENS) * (_HEAD_COLUMNS + shape.hidden_size)
    rows = 2 * c * min(_HEAD_COLUMNS, shape.vocab_size) * shape.hidden_size if widths.autocast else 0
    gradients = 4 * tokens * shape.hidden_size + trained * (4 + (widths.seen if widths.seen != 4 else 0))
    return tile + rows, tile + rows + gradients


def _plain_head(inputs: MemoryInputs, widths: _Widths, trained: int) -> tuple[float, float]:
    """Logits in the compute type, their fp32 copy and log-softmax; then the latter and two gradients of its size."""
    shape, c = inputs.shape, widths.compute
    logits = _tokens(inputs) * shape.vocab_size
    cast = c * shape.vocab_size * shape.hidden_size if widths.autocast else 0
    forward = logits * (c + (4 if c != 4 else 0) + 4)
    backward = max(12 * logits, c * logits + trained * (widths.seen + (c if widths.autocast else 0)))
    return forward + cast, backward + cast


def _buffers(inputs: MemoryInputs, widths: _Widths) -> float:
    """What the backend needs to talk; independent of the number of processes once there are two.

    * ddp: its buckets, a second copy of the gradients (accelerate does not make one a view of the other).
    * fsdp: embeddings, head and final norm with their gradients, which the root unit keeps gathered; two layers (the
      next is fetched early), and the gradients of one.
    * zero2: one reduce bucket.
    * zero3: the same, and up to 10^9 gathered parameters with a prefetch bucket.
    """
    shape, trains_all = inputs.shape, inputs.lora_rank is None
    match inputs.backend:
        case "none":
            return 0.0
        case "ddp":
            return _trained_parameters(inputs) * widths.gradient if inputs.num_processes > 1 else 0.0
        case "fsdp":
            root = embedding_parameters(shape) + shape.hidden_size
            layer = layer_matrix_parameters(shape) + layer_vector_parameters(shape)
            return widths.compute * (root + 2 * layer + (root + layer if trains_all else 0))
        case "zero2":
            return widths.compute * _ZERO_REDUCE_BUCKET
        case "zero3":
            live = min(num_parameters(shape), _ZERO3_LIVE) + _ZERO3_PREFETCH
            return widths.compute * (_ZERO_REDUCE_BUCKET + live)


def _step_gradients(inputs: MemoryInputs, widths: _Widths) -> float:
    """DeepSpeed copies its partition of bf16 gradients to fp32 to step, ZeRO-3 in groups of 10^9 elements."""
    if widths.master == 0 or widths.gradient == 4:
        return 0.0
    partition = _trained_parameters(inputs) / widths.state_shards
    return 4 * (min(partition, _ZERO3_LIVE) if inputs.backend == "zero3" else partition)


def _engine(inputs: MemoryInputs, widths: _Widths) -> float:
    """Bytes of the policy's weights that are there to play, and of what autocast casts of a guest's."""
    copy = widths.compute * num_parameters(inputs.shape)
    own = {"vllm-serve": 0.0, "vllm-colocate": copy, "transformers": _generation_weights(inputs, widths)}[inputs.engine]
    if inputs.engine == "transformers" and not inputs.rollout_batch:
        own = 0.0
    return own + sum(_guest_casts(inputs, guest, widths) for guest in _players(inputs) if guest.conversations)


def _generation_weights(inputs: MemoryInputs, widths: _Widths) -> float:
    """Where shards are trained the whole model is there to play; autocast casts every matrix it may, once a pass."""
    shape = inputs.shape
    if inputs.backend in ("fsdp", "zero3"):
        return widths.compute * num_parameters(shape)
    if not widths.autocast:
        return 0.0
    if inputs.lora_rank is not None or not inputs.trains:  # frozen weights are cast one by one and dropped
        return widths.compute * shape.vocab_size * shape.hidden_size
    return widths.compute * (shape.num_layers * layer_matrix_parameters(shape) + shape.vocab_size * shape.hidden_size)


def _policy_cache(inputs: MemoryInputs, widths: _Widths) -> float:
    shape, rows = inputs.shape, inputs.rollout_batch
    tokens = inputs.rollout_tokens or inputs.longest_tokens
    row = kv_cache_bytes(shape, tokens=tokens, sequences=1, element_bytes=widths.compute)
    match inputs.engine:
        case "vllm-serve":
            return 0.0
        case "vllm-colocate":
            if inputs.vllm_gpu_share is not None and inputs.device_gib is not None:
                pool = inputs.vllm_gpu_share * inputs.device_gib * _GIB
                return max(pool - widths.compute * num_parameters(shape), 0.0)
            return row * rows
        case "transformers":
            return _engine_cache(inputs, row, rows)


def _engine_cache(inputs: MemoryInputs, row: float, rows: float) -> float:
    """Bytes of caches of the engine in the process: of the batch at work, and what is kept of others.

    Args:
        inputs: of the device.
        row: bytes of keys and values of a row's ids.
        rows: alive.
    """
    row *= _ENGINE_SLACK
    most = row * _ENGINE_ROWS if inputs.device_gib is None else max(row, _ENGINE_SHARE * inputs.device_gib * _GIB)
    at_work = min(row * min(rows, _ENGINE_ROWS), most)
    return at_work + min(row * rows - at_work, _ENGINE_KEPT)


# ── other models ──


def _players(inputs: MemoryInputs) -> tuple[Guest, ...]:
    """The guests of the engine in the process: the live policy in another seat is played by whatever plays it."""
    return tuple(guest for guest in inputs.guests if guest.copies or inputs.engine == "transformers")


def _guest_width(inputs: MemoryInputs, guest: Guest, widths: _Widths) -> int:
    """Bytes of a weight: an opponent is loaded as the spec stores weights, whatever DeepSpeed makes of the policy's."""
    return (2 if inputs.weights == "bf16" else 4) if guest.stays else widths.seen


def _guest_weights(inputs: MemoryInputs, widths: _Widths, *, stays: bool) -> float:
    return sum(
        guest.copies * num_parameters(guest.shape) * _guest_width(inputs, guest, widths)
        for guest in inputs.guests
        if guest.stays == stays
    )


def _guest_casts(inputs: MemoryInputs, guest: Guest, widths: _Widths) -> float:
    """Autocast casts frozen matrices one by one and drops them: the head is the largest."""
    is_cast = widths.compute == 2 and _guest_width(inputs, guest, widths) == 4 and guest.copies
    return widths.compute * guest.shape.vocab_size * guest.shape.hidden_size if is_cast else 0.0


def _guest_cache(inputs: MemoryInputs, guest: Guest, widths: _Widths) -> float:
    if not guest.conversations:
        return 0.0
    token = kv_cache_bytes(guest.shape, tokens=1, sequences=1, element_bytes=widths.compute)
    return _engine_cache(inputs, token * guest.tokens / guest.conversations, guest.conversations)


def _sampling(inputs: MemoryInputs, widths: _Widths) -> float:
    rows = [(inputs.rollout_batch, inputs.shape)] if inputs.engine == "transformers" else []
    rows += [(guest.conversations, guest.shape) for guest in _players(inputs)]
    return sum(min(number, _ENGINE_ROWS) * shape.vocab_size * (widths.compute + 12) for number, shape in rows)
