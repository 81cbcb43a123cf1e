# pyright: basic
"""The optimizers of the plan: AdamW, or Muon on the matrices with AdamW on everything else; and who inherits them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import torch
from torch.optim import AdamW, Muon, Optimizer

from gift_dsl.errors import GiftError
from gift_dsl.train.job import StageJob
from gift_dsl.train.sharding import load_optimizer

_NEWTON_SCHULZ_STEPS: Final = 4
"""One fewer than usual: as good for the small models that this was measured on, and a fifth cheaper."""


def make_optimizer(  # noqa: PLR0913 - one name for each field of the plan
    model: Any,
    kind: Literal["adamw", "muon"],
    *,
    learning_rate: float,
    muon_learning_rate: float | None = None,
    betas: tuple[float, float] = (0.9, 0.999),
    weight_decay: float = 0.0,
) -> Optimizer:
    """An optimizer of all weights that want a gradient.

    Args:
        model: a transformers model; one wrapped by peft will do.
        kind: `muon` takes the two-dimensional weights that are neither embeddings nor the head; AdamW has the rest.
        learning_rate: peak, of AdamW.
        muon_learning_rate: peak, of Muon; None: that of AdamW.
        betas: of AdamW.
        weight_decay: decoupled; of weights with two dimensions or more, embeddings included.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    ends = {id(layer.weight) for layer in (model.get_input_embeddings(), model.get_output_embeddings()) if layer}
    matrices = [one for one in trained if kind == "muon" and one.dim() == 2 and id(one) not in ends]
    taken = {id(one) for one in matrices}
    rest = [one for one in trained if id(one) not in taken]
    groups = [
        {"params": [one for one in rest if one.dim() > 1], "weight_decay": weight_decay},
        {"params": [one for one in rest if one.dim() <= 1], "weight_decay": 0.0},
    ]
    adamw = AdamW([group for group in groups if group["params"]], lr=learning_rate, betas=betas) if rest else None
    if not matrices:
        assert adamw is not None, "nothing is to be trained"
        return adamw
    rate = learning_rate if muon_learning_rate is None else muon_learning_rate
    muon = Muon(matrices, lr=rate, weight_decay=weight_decay, ns_steps=_NEWTON_SCHULZ_STEPS)
    return Together([muon] if adamw is None else [adamw, muon])


class Together(Optimizer):
    """Several optimizers that step as one; groups and state are theirs.

    Args:
        optimizers: of different weights.
    """

    def __init__(self, optimizers: list[Optimizer]) -> None:
        self._optimizers = optimizers
        super().__init__([group for one in optimizers for group in one.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Give the optimizers this one's groups and state: whoever changes one changes the other."""
        start = 0
        for one in self._optimizers:
            end = start + len(one.param_groups)
            one.param_groups, one.state = self.param_groups[start:end], self.state
            start = end

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for one in self._optimizers:
            one.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As every optimizer does it; what it replaces is shared anew."""
        super().load_state_dict(state_dict)
        self._share()


def carry_optimizer(optimizer: Any, job: StageJob) -> None:
    """Give an optimizer the moments of the stage before, where its stage asks for it.

    Rates and decay are those of its own stage.

    Raises:
        GiftError: the stages have different optimizers, or train different weights.
    """
    if job.carry_from is None or job.stage.optimizer != "carry":
        return
    groups = optimizer.param_groups
    own = [{key: value for key, value in group.items() if key != "params"} for group in groups]
    try:
        load_optimizer(optimizer, job.carry_from)
    except FileNotFoundError as error:
        raise GiftError(f"`optimizer: carry`: {job.carry_from} holds no optimizer state") from error
    except ValueError as error:
        raise GiftError(
            f"`optimizer: carry`: the optimizer of the stage before is another, or has other weights ({error}); "
            "use the same in both stages, or `optimizer: reset`"
        ) from error
    for group, values in zip(optimizer.param_groups, own, strict=True):
        for key in group.keys() - {"params"}:
            del group[key]  # a schedule starts from `initial_lr` where it finds one
        group.update(values)
