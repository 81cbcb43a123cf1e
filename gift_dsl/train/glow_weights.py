"""GLOW's weights (arXiv:2601.04992): a sample whose loss still falls from epoch to epoch weighs less.

Dimensions: B samples of a batch, T tokens, N samples of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class GlowRule:
    """How a change of loss becomes a weight.

    Attributes:
        alpha, beta: scale and steepness.
        offset: 0 as in the released code, 1 as in its older variant.
        weight_min, weight_max: what weights are clamped to, before they are normalised.
        normalise: divide the weights of a batch by their mean.
        missing: after the first epoch, a sample that was never seen weighs one, or is compared with the batch's mean.
    """

    alpha: float
    beta: float
    offset: Literal[0, 1]
    weight_min: float
    weight_max: float
    normalise: bool
    missing: Literal["one", "batch_mean"]


def sample_losses(logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """The mean loss of each sample over its own tokens.

    Args:
        logp_BT: float [samples, tokens], log-probabilities of the labels.
        mask_BT: 1 on tokens that are learned.

    Returns:
        float [samples]; 0 for a sample without such tokens.
    """
    return -torch.where(mask_BT.bool(), logp_BT, 0.0).sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)


def glow_weights(losses_B: Tensor, previous_B: Tensor, rule: GlowRule, *, epoch: int) -> Tensor:
    """The weight of each sample's loss; the batch's loss is the mean of weight * loss.

        w = clamp(offset + alpha * (1 - sigmoid(beta * (previous - loss))), weight_min, weight_max)

    Args:
        losses_B: float [samples], of this visit.
        previous_B: float [samples], of the visit in an earlier epoch; NaN where there was none.
        rule: alpha, beta and the variants.
        epoch: counted from 0; in the first one every weight is 1.

    Returns:
        float [samples], without gradient; not normalised unless the rule says so.
    """
    losses_B = losses_B.detach()
    if epoch < 1:
        return torch.ones_like(losses_B)
    missing_B = previous_B.isnan()
    previous_B = torch.where(missing_B, losses_B.mean(), previous_B.to(losses_B))
    raw_B = rule.offset + rule.alpha * (1 - torch.sigmoid(rule.beta * (previous_B - losses_B)))
    weights_B = raw_B.clamp(rule.weight_min, rule.weight_max)
    if rule.missing == "one":
        weights_B = weights_B.masked_fill(missing_B, 1.0)
    return weights_B / weights_B.mean() if rule.normalise else weights_B


class GlowHistory:
    """The loss of every sample at its last visit and at the last one in an earlier epoch.

    A sampler that fills up a last batch shows some samples twice in an epoch: a second visit is compared with the same
    earlier epoch as the first.
    """

    def __init__(self, num_samples: int) -> None:
        self._last_N = torch.full((num_samples,), torch.nan, dtype=torch.float64)
        self._previous_N = torch.full((num_samples,), torch.nan, dtype=torch.float64)
        self._epoch_N = torch.full((num_samples,), -1, dtype=torch.int64)

    def previous(self, ids_B: Tensor, epoch: int) -> Tensor:
        """Losses of the samples in an earlier epoch: float64 [samples], NaN where there was no visit."""
        ids_B = ids_B.cpu()
        return torch.where(self._epoch_N[ids_B] == epoch, self._previous_N[ids_B], self._last_N[ids_B])

    def record(self, ids_B: Tensor, losses_B: Tensor, epoch: int) -> None:
        """Keep the losses of a visit, those of all processes, after its weights were taken."""
        for sample, loss in zip(ids_B.cpu(), losses_B.detach().double().cpu(), strict=True):
            if self._epoch_N[sample] != epoch:
                self._previous_N[sample] = self._last_N[sample]
            self._last_N[sample], self._epoch_N[sample] = loss, epoch

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {"last": self._last_N.clone(), "previous": self._previous_N.clone(), "epoch": self._epoch_N.clone()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> GlowHistory:
        """The history of a checkpoint."""
        history = cls(len(state["last"]))
        history._last_N, history._previous_N = state["last"].clone(), state["previous"].clone()
        history._epoch_N = state["epoch"].clone()
        return history
