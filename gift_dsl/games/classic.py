"""The nine matrix games of GIFT (arXiv 2601.05633, appendix A.1), payoffs as in the authors' code.

Textbook games; the payoffs are facts read from `ragen/env/nash_new/config.py` of nuoyanLyu/GIFT-LLM at cb88c8a. Their
sign flips are left out: minus one reverses preferences and with them the equilibria.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

Table = tuple[tuple[int, ...], ...]

_DUOPOLY: Final[Table] = (
    (0, 0, 0, 0, 0, 0),
    (9, 7, 5, 3, 1, -1),
    (14, 10, 6, 2, -2, -2),
    (15, 9, 3, -3, -3, -3),
    (12, 4, -4, -4, -4, -4),
    (5, -5, -5, -5, -5, -5),
)

CLASSIC: Final[Mapping[str, tuple[Table, Table]]] = MappingProxyType(
    {
        "prisoners_dilemma": (((3, 0), (5, 1)), ((3, 5), (0, 1))),
        "battle_of_the_sexes": (((2, 0), (0, 1)), ((1, 0), (0, 2))),
        "chicken": (((-10, 1), (-1, 0)), ((-10, -1), (1, 0))),
        "stag_hunt": (((3, 0), (1, 1)), ((3, 1), (0, 1))),
        "radio_station": (
            ((25, 50, 50), (30, 15, 30), (20, 20, 10)),
            ((25, 30, 20), (50, 15, 20), (50, 30, 10)),
        ),
        "iterated_dominance": (
            ((13, 1, 7), (4, 3, 6), (-1, 2, 8)),
            ((3, 4, 3), (1, 3, 2), (2, 3, -1)),
        ),
        "duopoly": (_DUOPOLY, tuple(zip(*_DUOPOLY, strict=True))),
        "three_by_four": (
            ((1, -1, 5, 1), (2, 1, 3, 5), (1, 0, 1, 0)),
            ((1, 2, 0, 1), (3, 2, 0, 1), (1, 5, 7, 1)),
        ),
        "weakly_dominated": (
            ((5, 4), (6, 3), (6, 4)),
            ((1, 0), (0, 1), (4, 1)),
        ),
    }
)
"""Payoffs of the row player and of the column player, by name."""
