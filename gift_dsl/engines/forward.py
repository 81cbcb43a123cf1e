# pyright: basic
"""A causal language model over a `RowCache`: encode what each row has new, or one more id of each.

New ids stand at the right of their matrix, so the last column is every row's last id and the model's own head makes
its logits. What fills the matrix at the left is written to the cache's unread last column.

Dimensions: B rows, T ids of one forward pass, W columns read, K last positions that keep their logits, V ids of the
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Literal

import torch
from torch import Tensor

from gift_dsl.engines.cache import Place, RowCache, capacity_for
from gift_dsl.errors import MachineError

Ids = tuple[int, ...]
Compute = Literal["fp32", "bf16"]

_WITH_MASKS: Final = ("sdpa", "eager")
_KINDS: Final = frozenset({"full_attention", "sliding_attention"})
_TOLERANCE: Final = 0.05
"""Of the logits' spread: bf16 stays well below, a wrong mask is far above."""


class Forward:
    """A model, how it computes, and how much it may encode at once.

    Args:
        model: a transformers causal language model; it is used as it is now, whatever is done to it between calls.
        compute: bf16 is autocast over whatever the weights are stored in.
        max_tokens: most ids of one forward pass, filling included.

    Raises:
        MachineError: its layers keep more than keys and values of each position.
    """

    def __init__(self, model: Any, compute: Compute, max_tokens: int) -> None:
        self.model, self.max_tokens = model, max_tokens
        self.is_autocast = compute == "bf16"
        self._windows = attention_windows(model.config.get_text_config())

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        """Of keys and values."""
        return torch.bfloat16 if self.is_autocast else self.model.dtype

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Everything that generation needs and training does not; put back at the end."""
        # not inference_mode: some models keep buffers that they compute here, and training could not use them
        autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.is_autocast)
        was_training, attention = self.model.training, self.model.config._attn_implementation
        with torch.no_grad(), autocast:
            try:
                self.model.eval()
                if attention not in _WITH_MASKS:  # those kernels know causal rows without holes only
                    self.model.set_attn_implementation("sdpa")
                yield
            finally:
                if attention not in _WITH_MASKS:
                    self.model.set_attn_implementation(attention)
                self.model.train(was_training)

    def extend(self, cache: RowCache, new_ids: Sequence[Ids], *, keep: int = 1) -> Tensor:
        """Encode new ids of every row, and count them in the cache's lengths.

        Args:
            cache: with room for them.
            new_ids: of each row; rows of like numbers of them should be neighbours.
            keep: number of last positions whose logits are wanted, at most the largest number of new ids.

        Returns:
            [rows, keep, vocabulary]; what stands before a row's first new id means nothing.
        """
        kept = [self._extend_rows(cache, new_ids, first, last, keep) for first, last in self._pieces(new_ids)]
        cache.lengths = [length + len(ids) for length, ids in zip(cache.lengths, new_ids, strict=True)]
        return torch.cat(kept)

    def step(self, cache: RowCache, next_ids: Sequence[int | None]) -> Tensor:
        """Encode one more id of each row but those of None, whose results mean nothing.

        Returns:
            Logits [rows, vocabulary].
        """
        unread = cache.capacity - 1
        columns = [unread if token is None else length for token, length in zip(next_ids, cache.lengths, strict=True)]
        ids_BT = torch.tensor([token or 0 for token in next_ids], device=self.device)[:, None]
        columns_BT = torch.tensor(columns, device=self.device)[:, None]
        cache.lengths = [length + (token is not None) for token, length in zip(next_ids, cache.lengths, strict=True)]
        width = 1 + max(column for column in columns if column != unread)
        place = Place(0, cache.num_rows, columns_BT, width)
        return self._forward(cache, place, ids_BT, 1)[:, 0]

    def _pieces(self, new_ids: Sequence[Ids]) -> Iterator[tuple[int, int]]:
        """Ranges of rows that fit into one forward pass; a single row may be longer."""
        first, longest = 0, 0
        for row, ids in enumerate(new_ids):
            longest = max(longest, len(ids))
            if row > first and (row - first + 1) * longest > self.max_tokens:
                yield first, row
                first, longest = row, len(ids)
        yield first, len(new_ids)

    def _extend_rows(self, cache: RowCache, new_ids: Sequence[Ids], first: int, last: int, keep: int) -> Tensor:
        """One piece, its matrix cut into strips where it is longer than one forward pass may be."""
        rows = new_ids[first:last]
        longest = max(1, *(len(ids) for ids in rows), keep)
        unread = cache.capacity - 1
        ids = [[0] * (longest - len(own)) + list(own) for own in rows]
        columns = [
            [unread] * (longest - len(own)) + list(range(start, start + len(own)))
            for own, start in zip(rows, cache.lengths[first:last], strict=True)
        ]
        ids_BT, columns_BT = torch.tensor(ids, device=self.device), torch.tensor(columns, device=self.device)
        strip = max(1, self.max_tokens // len(rows))
        kept: list[Tensor] = []
        for start in range(0, longest, strip):
            end = min(start + strip, longest)
            width = 1 + max((column for own in columns for column in own[start:end] if column != unread), default=0)
            place = Place(first, last, columns_BT[:, start:end], width)
            wanted = min(end - start, max(0, end - (longest - keep)))
            logits_BKV = self._forward(cache, place, ids_BT[:, start:end], max(1, wanted))
            if wanted:
                kept.append(logits_BKV)
        return torch.cat(kept, dim=1)

    def _forward(self, cache: RowCache, place: Place, ids_BT: Tensor, keep: int) -> Tensor:
        cache.place = place
        positions_BT = torch.where(place.columns == cache.capacity - 1, 0, place.columns)
        output = self.model(
            input_ids=ids_BT,
            attention_mask=self._masks(positions_BT, place.width),
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        return output.logits[:, -keep:]

    def _masks(self, positions_BT: Tensor, width: int) -> Tensor | dict[str, Tensor]:
        """Additive [rows, 1, T, W]: 0 where a query looks; by kind of layer where there are several."""
        masks = {kind: self._mask(positions_BT, width, window) for kind, window in self._windows.items()}
        return masks if len(masks) > 1 else next(iter(masks.values()))

    def _mask(self, positions_BT: Tensor, width: int, window: int | None) -> Tensor:
        columns_W = torch.arange(width, device=positions_BT.device)
        position_BT1 = positions_BT[..., None]
        hidden_BTW = columns_W > position_BT1
        if window is not None:
            hidden_BTW |= columns_W <= position_BT1 - window
        mask_BTW = torch.zeros(hidden_BTW.shape, dtype=self.dtype, device=positions_BT.device)
        return mask_BTW.masked_fill_(hidden_BTW, torch.finfo(self.dtype).min)[:, None]


def check_model(forward: Forward) -> None:
    """Refuse a model that does not do as it is told about masks, positions and the cache.

    Raises:
        MachineError: its logits are not finite, or rows that are encoded together and in two steps differ from rows
            encoded alone.
    """
    vocabulary = forward.model.config.get_text_config().vocab_size
    rows = [tuple((7 * place + size) % vocabulary for place in range(size)) for size in (3, 7, 12)]
    name = type(forward.model).__name__
    with forward.ready():
        alone_BV = torch.stack(
            [forward.model(torch.tensor([row], device=forward.device)).logits[0, -1].float() for row in rows]
        )
        if not alone_BV.isfinite().all():
            raise MachineError(
                f"the logits of this {name} are not finite (NaN or infinity): its weights are damaged, or overflow in "
                "their format; load it with another `precision`, or from other files"
            )
        try:
            cache = RowCache(len(rows), capacity_for(12), forward.dtype)
            forward.extend(cache, [row[: index + 1] for index, row in enumerate(rows)])
            together_BV = forward.extend(cache, [row[index + 1 :] for index, row in enumerate(rows)])[:, 0].float()
        except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise MachineError(f"the `transformers` engine cannot generate with a {name}: {error}") from error
    error_share = ((together_BV - alone_BV).abs().mean() / alone_BV.std()).item()
    if not error_share < _TOLERANCE:
        raise MachineError(
            f"the `transformers` engine cannot generate with a {name}: rows of different lengths disturb each other "
            f"(by {error_share:.0%} of the logits' spread); use `resources.vllm`"
        )


def attention_windows(config: Any) -> dict[str, int | None]:
    """For each kind of layer how far back a query looks, itself included; None: to the beginning.

    Raises:
        MachineError: there is a kind whose memory is not one of keys and values by position.
    """
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None)
    if kinds is None:
        return {"full_attention": None} if window is None else {"sliding_attention": window}
    others = sorted(set(kinds) - _KINDS)
    if others:
        raise MachineError(
            f"the `transformers` engine cannot generate with {config.model_type} models: it has layers of the kind "
            f"`{others[0]}`; use `resources.vllm`"
        )
    return {kind: window if kind == "sliding_attention" else None for kind in sorted(set(kinds))}
