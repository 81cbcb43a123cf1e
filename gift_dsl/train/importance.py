"""The engine that samples and the trainer that learns never agree exactly on a log-probability: how much, and the cure.

Dimensions: B sequences, T completion tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

LARGEST_KL: Final = 1e-3
"""A mean k3 estimate above this means that the engine plays another policy than the one that is trained."""


def importance_weights(trainer_logp_BT: Tensor, engine_logp_BT: Tensor, mask_BT: Tensor, cap: float) -> Tensor:
    """Truncated importance weights of tokens that another distribution sampled (Ionides 2008; Yao et al. 2025, TIS).

        w = min(p_trainer(token) / p_engine(token), cap)

    A token's clipped surrogate is homogeneous in its advantage, so multiplying the advantage by w corrects its loss.

    Args:
        trainer_logp_BT: float [sequences, tokens], of the weights that sampled, by the trainer's computation.
        engine_logp_BT: float [sequences, tokens], as the engine reported when it sampled.
        mask_BT: 1 on sampled tokens.
        cap: at least 1.

    Returns:
        float32 [sequences, tokens] in (0, cap], without gradient; 1 where the mask is 0.
    """
    log_ratio_BT = _log_ratio(trainer_logp_BT, engine_logp_BT, mask_BT)
    return log_ratio_BT.exp().clamp(max=cap)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """How far engine and trainer are apart on sampled tokens.

    Attributes:
        num_tokens: sampled tokens that were looked at.
        abs_difference: mean of |log p_trainer - log p_engine|.
        kl: mean k3 estimate of KL(engine || trainer), at least 0 on every token (Schulman 2020).
        truncated: share of tokens whose importance weight met the cap.
    """

    num_tokens: int
    abs_difference: float
    kl: float
    truncated: float

    @property
    def is_alarming(self) -> bool:
        """Whether the two are different policies rather than different roundings of one."""
        return not self.kl <= LARGEST_KL

    @classmethod
    def from_sums(cls, sums: Tensor) -> Mismatch:
        """From `mismatch_sums`, added up over batches and processes."""
        num_tokens, difference, kl, truncated = (float(value) for value in sums)
        tokens = max(num_tokens, 1.0)
        return cls(int(num_tokens), difference / tokens, kl / tokens, truncated / tokens)


def mismatch_sums(trainer_logp_BT: Tensor, engine_logp_BT: Tensor, mask_BT: Tensor, cap: float) -> Tensor:
    """What `Mismatch` is made of, summed so that micro-batches and processes can be added up.

    With d = log p_trainer - log p_engine on a token that the engine sampled, k3 = exp(d) - 1 - d.

    Returns:
        float64 [4]: tokens, sum of |d|, sum of k3, tokens with exp(d) > cap.
    """
    log_ratio_BT = _log_ratio(trainer_logp_BT, engine_logp_BT, mask_BT).double()
    k3_BT = torch.expm1(log_ratio_BT) - log_ratio_BT
    truncated_BT = log_ratio_BT.exp() > cap
    return torch.stack([mask_BT.double().sum(), log_ratio_BT.abs().sum(), k3_BT.sum(), truncated_BT.double().sum()])


def _log_ratio(trainer_logp_BT: Tensor, engine_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Of sampled tokens, float32; 0 elsewhere."""
    log_ratio_BT = trainer_logp_BT.detach().float() - engine_logp_BT.detach().float()
    return torch.where(mask_BT.bool(), log_ratio_BT, 0.0)
