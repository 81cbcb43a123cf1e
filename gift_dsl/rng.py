"""Randomness is an argument: one named stream for each key, nothing global.

A stream depends on the seed and on its own name only, so one episode replays alone and no order of calls,
worker or library changes a result.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from functools import lru_cache
from typing import Final

_VERSION: Final = "v1"


def _key(seed: int, name: tuple[str | int, ...]) -> bytes:
    """Length-prefixed, typed, versioned: ("a", 1) and ("a1",) and ("a", "1") are three streams."""
    return b"".join(map(_part, (_VERSION, seed, *name)))


@lru_cache(maxsize=4096, typed=True)
def _part(part: str | int) -> bytes:
    return f"{type(part).__name__}:{len(str(part))}:{part}".encode()


def stream(seed: int, *name: str | int) -> random.Random:
    """An independent generator for one named purpose.

    Args:
        seed: the seed of the spec (`seed`) or of its evaluation (`evaluation.seed`).
        name: what is drawn, e.g. ("instance", split, stage, step, group, game, occurrence).

    Returns:
        A `random.Random` seeded with a 256-bit blake2b digest of the whole name.
    """
    return random.Random(hashlib.blake2b(_key(seed, name), digest_size=32).digest())


def branch(seed: int, *name: str | int) -> Callable[..., random.Random]:
    """Streams whose names begin alike, at less cost: `branch(s, "a")("b", 1)` is `stream(s, "a", "b", 1)`."""
    start = hashlib.blake2b(_key(seed, name), digest_size=32)

    def rest(*more: str | int) -> random.Random:
        whole = start.copy()
        whole.update(b"".join(map(_part, more)))
        return random.Random(whole.digest())

    return rest


def fraction(*name: str | int) -> float:
    """A fixed number in [0, 1) for a name, independent of any seed: what splits are cut by."""
    digest = hashlib.blake2b(_key(0, ("fraction", *name)), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
