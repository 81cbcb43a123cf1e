# pyright: basic
"""From the plan's model to an engine: find it, load it, and say what is missing before anything is played."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from jinja2 import TemplateError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast

from gift_dsl.data import hub_within_reach, is_local
from gift_dsl.engines.transformers import EngineLimits, TransformersEngine
from gift_dsl.errors import GiftError, MachineError
from gift_dsl.plan import LoraPlan, ModelPlan
from gift_dsl.play.codec import TemplateCodec, TokenizerFunctions
from gift_dsl.rng import stream
from gift_dsl.seat import Message

_DTYPES: Final = {"fp32": torch.float32, "bf16": torch.bfloat16}
_PROBE: Final = (Message("user", "Hello."), Message("assistant", "OK"))


def find_source(model: ModelPlan, folder: Path) -> str:
    """Where a model's files are: a folder on this machine, or a hub id as it is.

    Args:
        model: with a `source` that is not the built-in one.
        folder: relative paths start here.

    Raises:
        MachineError: the folder is not there, or holds no model.
    """
    assert model.source is not None
    if not is_local(model.source):
        return model.source
    path = folder / Path(model.source).expanduser()
    if not path.is_dir():
        raise MachineError(f"the model folder {model.source} does not exist (looked for {path})")
    if not (path / "config.json").is_file():
        raise MachineError(f"{path} holds no model in Hugging Face's format: there is no config.json")
    return str(path)


def load_policy(
    model: ModelPlan,
    source: str,
    *,
    device: str | torch.device = "cpu",
    thinking: bool = False,
    limits: EngineLimits | None = None,
) -> TransformersEngine:
    """The engine of a model.

    Args:
        model: formats, attention, and the tokenizer and chat template if they are not the model's own.
        source: a folder (of `find_source`, `build_tiny` or a checkpoint) or a hub id.
        device: where it computes.
        thinking: what the chat template is told; templates without such a switch do not care.
        limits: of memory.

    Raises:
        MachineError: a file is missing, no chat template, an attention that is not installed, a tokenizer of another
            model, or a model that this engine cannot generate with.
    """
    tokenizer = load_tokenizer(model, source)
    codec = make_codec(tokenizer, thinking=thinking, end_ids=_declared_ends(model, source))
    loaded = load_model(model, source, device=device)
    _check_fit(tokenizer, codec, loaded, model.tokenizer or source)
    engine = TransformersEngine(loaded, codec, compute=model.compute, limits=limits)
    engine.check()
    return engine


def _check_fit(tokenizer: Any, codec: TemplateCodec, model: Any, name: str) -> None:
    """The model embeds every id that a prompt or a batch can hold.

    Special tokens that neither the template nor padding writes may be more than it embeds: the text models of Gemma 3
    share a tokenizer with those that see, whose token of an image comes after all that they embed.

    Raises:
        MachineError: it does not.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    ids = set(tokenizer.get_vocab().values())
    special = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special}
    written = {*codec.render(_PROBE, open_turn=False), *codec.render(_PROBE[:1], open_turn=True)}
    written |= {tokenizer.pad_token_id} - {None}
    beyond = (ids - special | written) - set(range(rows))
    if beyond:
        raise MachineError(
            f"the tokenizer {name} has ids up to {max(ids)}, and the model {type(model).__name__} embeds {rows}, so up "
            f"to {rows - 1}: {len(beyond)} of its ids have no weights. Give the tokenizer that belongs to the model "
            "(`model.tokenizer`), or enlarge the model first with `resize_token_embeddings`"
        )


def adapted(engine: TransformersEngine, lora: LoraPlan, seed: int, revision: str | None = None) -> TransformersEngine:
    """An engine of the same model with new adapters; see `adapt`."""
    return engine.sibling(adapt(engine.model, lora, seed, revision))


def adapt(model: Any, lora: LoraPlan, seed: int, revision: str | None = None) -> Any:
    """The same model with new low-rank adapters, which alone are to be trained (Hu et al. 2022).

    They begin as no change at all. The model given has them too, for it is not copied.

    Args:
        model: without adapters.
        lora: rank, scale, dropout and layers.
        seed: the same adapters for the same seed.
        revision: of the model, for whoever loads the adapters.

    Raises:
        GiftError: the model has no such layers, or they include the head, which the trainer reads without adapters.
    """
    targets = lora.target_modules
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # pyright: ignore[reportArgumentType] - any number will do
        lora_dropout=lora.dropout,
        target_modules="all-linear" if targets == ("all-linear",) else list(targets),
        task_type="CAUSAL_LM",
        revision=revision,
    )
    head = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is head)
    if any(name == target or name.endswith(f".{target}") for target in targets):
        raise GiftError(
            f"`model.lora.target_modules: {list(targets)}` names the head: its adapters would not be trained"
        )
    device = model.device
    with torch.random.fork_rng([] if device.type == "cpu" else [device]), quiet_peft():
        torch.manual_seed(stream(seed, "lora").getrandbits(63))
        try:
            return get_peft_model(model, config)
        except ValueError as error:
            raise GiftError(f"`model.lora.target_modules: {list(targets)}` cannot be adapted: {error}") from error


def load_model(model: ModelPlan, source: str, *, device: str | torch.device = "cpu") -> Any:
    """The causal language model with all its weights; a checkpoint's adapters are merged into what they adapt.

    Raises:
        MachineError: files or weights are missing, or the attention is not installed.
    """
    if (base := adapted_by(source)) is not None:
        whole = load_model(replace(model, revision=base.revision), base.source, device=device)
        with quiet_peft():
            return PeftModel.from_pretrained(whole, source).merge_and_unload().requires_grad_(True)
    auto: Any = AutoModelForCausalLM
    try:
        with _reaching(source):
            loaded, report = auto.from_pretrained(
                source,
                revision=model.revision,
                dtype=_DTYPES[model.weights],
                attn_implementation=model.attention,
                output_loading_info=True,
            )
    except ImportError as error:
        raise MachineError(f"`model.attention: {model.attention}` needs what is not installed: {error}") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise MachineError(f"the model {source} cannot be loaded: {error}") from error
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report["mismatched_keys"])
    if missing:
        raise MachineError(
            f"the model {source} is no complete {type(loaded).__name__}: {len(missing)} weights are missing, "
            f"among them {missing[0]}"
        )
    return loaded.to(device)


def _reaching(source: str) -> AbstractContextManager[object]:
    """A block in which the libraries of a hub that cannot be reached do not try each file for half a minute."""
    return nullcontext() if Path(source).is_dir() else hub_within_reach()


@contextmanager
def quiet_peft() -> Iterator[None]:
    """A block in which peft asks transformers by an old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)  # peft's own
        yield


@dataclass(frozen=True, slots=True)
class Base:
    """What adapters were trained on: a folder or hub id, and its revision."""

    source: str
    revision: str | None


def adapted_by(source: str) -> Base | None:
    """What the adapters of a checkpoint belong to; None for a folder or hub id of a whole model.

    Raises:
        MachineError: it is a folder that is not there.
    """
    path = Path(source) / "adapter_config.json"
    if not path.is_file():
        return None
    told = json.loads(path.read_text(encoding="utf-8"))
    name = str(told["base_model_name_or_path"])
    places = [Path(name), *(above / "stages" / Path(name).name for above in Path(source).absolute().parents)]
    found = next((place for place in places if (place / "config.json").is_file()), None)  # a run may have been moved
    if found is None and (is_local(name) or Path(name).is_absolute()):
        raise MachineError(f"{source} holds adapters of {name}, which does not exist")
    return Base(name if found is None else str(found), told.get("revision"))


def load_tokenizer(model: ModelPlan, source: str) -> Any:
    """The tokenizer with its chat template.

    Raises:
        MachineError: it is not there, or has no chat template and the plan gives none.
    """
    name = model.tokenizer or source
    revision = model.revision if name == source else None
    try:
        with _reaching(name):
            tokenizer = AutoTokenizer.from_pretrained(name, revision=revision)
    except (OSError, ValueError) as error:
        raise MachineError(f"the tokenizer {name} cannot be loaded: {error}") from error
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # where files are missing, some classes begin with nothing
        raise MachineError(f"the tokenizer {name} cannot be loaded: it knows no words; a file is missing")
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    if tokenizer.chat_template is None:
        raise MachineError(
            f"the tokenizer {name} has no chat template: choose a model that was tuned for chat, or give one with "
            "`model.chat_template`"
        )
    return tokenizer


def load_codec(model: ModelPlan, source: str, *, thinking: bool = False) -> TemplateCodec:
    """The chat template and the tokenizer as the table wants them.

    Raises:
        MachineError: one is missing, or the template cannot render a conversation.
    """
    return make_codec(load_tokenizer(model, source), thinking=thinking, end_ids=_declared_ends(model, source))


def make_codec(tokenizer: Any, *, thinking: bool = False, end_ids: Sequence[int] = ()) -> TemplateCodec:
    """A codec over a loaded tokenizer.

    A turn ends with the first special token that the template writes after an assistant's text, with the tokenizer's
    end of text, and with whatever else the model declares.

    Args:
        tokenizer: with a chat template.
        thinking: what the template is told.
        end_ids: further ids that end a turn.

    Raises:
        MachineError: the template cannot render a conversation, or nothing is known to end a turn.
    """
    special = {str(token): index for index, token in tokenizer.added_tokens_decoder.items() if token.special}

    def render(messages: Sequence[Message], open_turn: bool) -> str:
        chat = [{"role": message.role, "content": message.content} for message in messages]
        switches = {"enable_thinking": thinking, "thinking": thinking}
        return tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=open_turn, **switches)

    try:
        text = render(_PROBE, False)
    except TemplateError as error:
        raise MachineError(f"the chat template cannot render a conversation: {error}") from error
    after = text.rpartition(_PROBE[-1].content)[2]
    written = min((token for token in special if token in after), key=after.index, default=None)
    known = [tokenizer.eos_token_id, None if written is None else special[written], *end_ids]
    ends = frozenset(token for token in known if token is not None)
    if not ends:
        raise MachineError("nothing ends a turn: the tokenizer has no end-of-text token and the template writes none")
    return TemplateCodec(
        TokenizerFunctions(
            render=render,
            encode=_encoder(tokenizer, is_plain=bool(tokenizer.split_special_tokens)),
            encode_plain=_encoder(tokenizer, is_plain=True),
            decode=lambda ids: tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            ),
            special_texts=frozenset(special),
            end_of_turn_ids=ends,
        )
    )


def _encoder(tokenizer: Any, *, is_plain: bool) -> Callable[[str], Sequence[int]]:
    """Ids of a text, without those that a tokenizer puts around one; with `is_plain` nothing in it is special.

    A fast tokenizer's own encoding takes a third of the time of calling it by transformers, and is what that calls.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or type(tokenizer)._encode_plus is not PreTrainedTokenizerFast._encode_plus:
        return lambda text: tokenizer(text, add_special_tokens=False, split_special_tokens=is_plain)["input_ids"]

    def encode(text: str) -> Sequence[int]:
        if backend.truncation is not None:
            backend.no_truncation()
        if backend.padding is not None:
            backend.no_padding()
        if backend.encode_special_tokens != is_plain:
            backend.encode_special_tokens = is_plain
        return backend.encode_batch_fast([text], add_special_tokens=False)[0].ids

    return encode


def _declared_ends(model: ModelPlan, source: str) -> list[int]:
    """What the checkpoint says ends a text: all that is read of its generation_config."""
    if (base := adapted_by(source)) is not None:
        return _declared_ends(replace(model, revision=base.revision), base.source)
    kinds: tuple[Any, ...] = (GenerationConfig, AutoConfig)
    for kind in kinds:
        try:
            with _reaching(source):
                ends: int | list[int] | None = kind.from_pretrained(source, revision=model.revision).eos_token_id
        except (OSError, ValueError):
            continue
        if ends is not None:
            return [ends] if isinstance(ends, int) else list(ends)
    return []
