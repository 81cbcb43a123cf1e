"""From returns to advantages: how much better an episode was than those it is compared with.

Dimensions: G groups (or columns of credit: whatever is compared), E the episodes of a group. NaN marks an episode
without a return; it leaves means and stds, and its advantage is 0. Everything is float64: with single precision
16 equal returns of 0.7 would not have a std of exactly 0.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

EPS: Final = 1e-6
"""Added to every std, in the unit of the return."""


def group_relative_advantages(returns_GE: Tensor, *, eps: float = EPS) -> Tensor:
    """GRPO's advantages (Shao et al. 2024, arXiv:2402.03300, section 4.1.2).

        A[g,e] = (R[g,e] - mean_e R[g]) / (std_e R[g] + eps)

    Args:
        returns_GE: float64 [groups, episodes], undiscounted returns of whole episodes; NaN where there is none.
        eps: same unit as the return.

    Returns:
        float64 [groups, episodes], with the sample std (ddof 1), so that [1, 0, 0, 1] gives +-0.866; exactly 0 where
        all episodes of a group tie, and where there is no return.
    """
    return centred(returns_GE) / (group_std(returns_GE) + eps)


def centred(returns_GE: Tensor) -> Tensor:
    """Returns minus the mean of their group: the advantages of Dr. GRPO (Liu et al. 2025, arXiv:2503.20783).

    They are (E - 1) / E times those of a leave-one-out baseline (RLOO), for each group of E returns.

    Returns:
        float64 [groups, episodes]; exactly 0 where all episodes of a group tie, and where there is no return.
    """
    means_G1 = returns_GE.nanmean(dim=1, keepdim=True)
    nothing_GE = ties(returns_GE) | returns_GE.isnan()
    return torch.where(nothing_GE, 0.0, returns_GE - means_G1)


def group_std(returns_GE: Tensor) -> Tensor:
    """The sample std (ddof 1) of each group: what StarPO-S ranks groups by (Wang et al. 2025, arXiv:2504.20073, eq. 7).

    Returns:
        float64 [groups, 1]; exactly 0 where all episodes tie, and with fewer than two of them.
    """
    present_GE = ~returns_GE.isnan()
    degrees_G1 = (present_GE.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    squares_G1 = centred(returns_GE).square().sum(dim=1, keepdim=True)
    return (squares_G1 / degrees_G1).sqrt()


def pooled_std(returns_GE: Tensor) -> Tensor:
    """One std for groups that are to keep their proportions: the root of the mean of their variances.

    Of a single group it is its std. Groups without any return do not count.

    Returns:
        float64 scalar.
    """
    has_returns_G1 = (~returns_GE.isnan()).any(dim=1, keepdim=True)
    variances = group_std(returns_GE).square()[has_returns_G1]
    return variances.mean().sqrt() if variances.numel() else torch.zeros((), dtype=returns_GE.dtype)


def batch_std(returns: Tensor) -> Tensor:
    """The sample std (ddof 1) over all returns of a batch, whatever their group.

    Returns:
        float64 scalar; exactly 0 where all tie, and with fewer than two of them.
    """
    return group_std(returns.reshape(1, -1)).squeeze()


def ties(returns_GE: Tensor) -> Tensor:
    """Whether all returns of a group are the same number.

    Returns:
        bool [groups, 1]; True too where there are fewer than two.
    """
    present_GE = ~returns_GE.isnan()
    highest_G1 = returns_GE.masked_fill(~present_GE, -torch.inf).amax(dim=1, keepdim=True)
    lowest_G1 = returns_GE.masked_fill(~present_GE, torch.inf).amin(dim=1, keepdim=True)
    return highest_G1 <= lowest_G1
