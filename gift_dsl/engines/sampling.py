# pyright: basic
"""One id from each row of logits: inverse-CDF sampling with given uniforms.

Dimensions: B rows, V ids of the vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor


def sample(logits_BV: Tensor, temperatures_B: Tensor, uniforms_B: Tensor) -> tuple[Tensor, Tensor]:
    """Draw one id a row.

        id[b] = the first v with  sum_{w <= v} p[b, w] > u[b],  p[b] = softmax(logits[b] / temperature[b])

    A row's draw depends on its own logits, temperature and uniform only.

    Args:
        logits_BV: float [rows, vocabulary], of any precision.
        temperatures_B: float64 [rows]; 0 takes the first largest logit.
        uniforms_B: float64 [rows] in [0, 1).

    Returns:
        int64 ids, and float32 log-probabilities under p; 0 in greedy rows, whose distribution is a point.
    """
    is_greedy_B = temperatures_B == 0
    scale_B1 = torch.where(is_greedy_B, 1.0, temperatures_B).float()[:, None]
    probs_BV = torch.softmax(logits_BV.float() / scale_B1, dim=-1)
    # float64: the sum of 150,000 float32 numbers would be off by more than the rarest of them.
    cdf_BV = probs_BV.cumsum(dim=-1, dtype=torch.float64)
    total_B1 = cdf_BV[:, -1:]
    # Below the total, so that the id found is one that adds to the sum.
    target_B1 = torch.minimum(uniforms_B[:, None] * total_B1, torch.nextafter(total_B1, torch.zeros_like(total_B1)))
    drawn_B = torch.searchsorted(cdf_BV, target_B1, right=True)[:, 0]
    ids_B = torch.where(is_greedy_B, logits_BV.argmax(dim=-1), drawn_B)
    logp_B = probs_BV.gather(-1, ids_B[:, None])[:, 0].log()
    return ids_B, torch.where(is_greedy_B, 0.0, logp_B)
