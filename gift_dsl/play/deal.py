"""Which part each group plays: `in_turn` by the step, `any_of` by weight, orders drawn once for each group.

Everything here is a pure function of the plan, the seed, the stage and the step, so a resumed run deals as the
unbroken one would have. Steps are counted from 0 within the stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final, assert_never

from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, Node, Play, largest_remainder, weights_at
from gift_dsl.play.keys import Keys

Path = tuple[int, ...]
Dealt = Leaf | AllOf
"""A node without `any_of` below it: what one group plays."""

# What parts are owed is remembered within windows of so many steps, which bounds the work of a late step.
_WINDOW: Final = 1000


def phase(blocks: Sequence[int], step: int) -> int:
    """Index of the block that a step falls into when the blocks repeat (GIFT v2: `k_list`; its T is step + 1)."""
    place = step % sum(blocks)
    return next(index for index, end in enumerate(accumulate(blocks)) if place < end)


def node_at(play: Play, keys: Keys) -> Node:
    """What a step plays: the part of `in_turn` whose turn it is, or the whole composition."""
    if not isinstance(play, InTurn):
        return play
    order = list(range(len(play.parts)))
    if play.order == "random":
        cycle = replace(keys, step=keys.step // sum(play.blocks))
        cycle.stream("in_turn").shuffle(order)
    blocks = [play.blocks[index] for index in order]
    return play.parts[order[phase(blocks, keys.step)]]


def deal(play: Play, keys: Keys, groups: Sequence[int]) -> Mapping[int, Dealt]:
    """What each group plays, its parts in the order written.

    Args:
        play: the stage's composition.
        keys: of the step.
        groups: numbers of the groups; refills of a step go on counting, and are dealt by themselves.
    """
    node = node_at(play, keys)
    return _deal(node, groups, _Dealer(keys, _shares_of_step(node, len(groups), keys.step, refill=groups[0] != 0)))


def in_order(node: Dealt, keys: Keys, group: int) -> Dealt:
    """What one group plays, its parts in the order in which it plays them."""
    return _ordered(node, keys, group, ())


class _Dealer:
    """The shares of one step, and its streams."""

    def __init__(self, keys: Keys, shares: Mapping[Path, Sequence[int]]) -> None:
        self.keys, self.shares = keys, shares

    def choose(self, node: AnyOf, path: Path, groups: Sequence[int]) -> list[int]:
        """The index of the part of each group."""
        place = ".".join(map(str, path))
        if path not in self.shares:
            weights = weights_at(node.parts, self.keys.step)
            draws = (self.keys.stream("any_of", group, place) for group in groups)
            return [draw.choices(range(len(weights)), weights)[0] for draw in draws]
        # Shuffled: dealt in blocks, two draws inside one `all_of` would always fall together.
        chosen = [index for index, share in enumerate(self.shares[path]) for _ in range(share)]
        self.keys.stream("any_of", groups[0] if groups else 0, place).shuffle(chosen)
        return chosen


def _deal(node: Node, groups: Sequence[int], dealer: _Dealer, path: Path = ()) -> dict[int, Dealt]:
    match node:
        case Leaf():
            return dict.fromkeys(groups, node)
        case AllOf():
            parts = [_deal(part, groups, dealer, (*path, index)) for index, part in enumerate(node.parts)]
            return {group: replace(node, parts=tuple(part[group] for part in parts)) for group in groups}
        case AnyOf():
            chosen = dealer.choose(node, path, groups)
            dealt: dict[int, Dealt] = {}
            for index, part in enumerate(node.parts):
                own = [group for group, choice in zip(groups, chosen, strict=True) if choice == index]
                dealt |= _deal(part, own, dealer, (*path, index))
            # The part stands where the draw stood, so it has the weight of the draw there.
            return {group: replace(one, weight=node.weight) for group, one in dealt.items()}
        case _:
            assert_never(node)


def _ordered(node: Node, keys: Keys, group: int, path: Path) -> Dealt:
    if isinstance(node, Leaf):
        return node
    assert isinstance(node, AllOf), "every draw was made"
    parts = [_ordered(part, keys, group, (*path, index)) for index, part in enumerate(node.parts)]
    if node.order == "shuffled":
        keys.stream("order", group, ".".join(map(str, path))).shuffle(parts)
    elif node.order == "rotated":
        start = (keys.step + group) % len(parts)
        parts = [*parts[start:], *parts[:start]]
    return replace(node, parts=tuple(parts))


def _shares_of_step(node: Node, groups: int, step: int, *, refill: bool) -> Mapping[Path, Sequence[int]]:
    """How many groups each part of each balanced `any_of` gets."""
    owed: dict[Path, list[float]] = {}
    shares, is_owing = _share(node, groups, step, owed)
    if not is_owing or refill:
        return shares
    owed = {}
    for earlier in range(step - step % _WINDOW, step):
        _share(node, groups, earlier, owed)
    return _share(node, groups, step, owed)[0]


def _share(node: Node, groups: int, step: int, owed: dict[Path, list[float]]) -> tuple[dict[Path, Sequence[int]], bool]:
    """The shares of one step, and whether some part's quota is less than one group; `owed` is brought up to date."""
    shares: dict[Path, Sequence[int]] = {}
    is_owing = False
    for path, draw, num_groups in _balanced_draws(node, groups, (), shares):
        weights = weights_at(draw.parts, step)
        whole = math.fsum(weights)  # `sum` rounds otherwise before Python 3.12, and might deal another game
        quotas = [num_groups * weight / whole for weight in weights]
        if any(0 < quota < 1 for quota in quotas):
            is_owing = True
            before = owed.get(path, [0.0] * len(quotas))
            claims = [quota + claim for quota, claim in zip(quotas, before, strict=True)]
            shares[path] = largest_remainder(claims, num_groups)
            owed[path] = [claim - share for claim, share in zip(claims, shares[path], strict=True)]
        else:
            shares[path] = largest_remainder(quotas, num_groups, first=step)
    return shares, is_owing


def _balanced_draws(
    node: Node, groups: int, path: Path, shares: Mapping[Path, Sequence[int]]
) -> Iterator[tuple[Path, AnyOf, int]]:
    """Each balanced `any_of` with the number of groups that reach it; `shares` is filled while this goes on."""
    if isinstance(node, Leaf):
        return
    reached = [groups] * len(node.parts)
    if isinstance(node, AnyOf):
        if node.draw == "random":
            return  # how many groups reach what is below is itself drawn
        yield path, node, groups
        reached = list(shares[path])
    for index, (part, number) in enumerate(zip(node.parts, reached, strict=True)):
        yield from _balanced_draws(part, number, (*path, index), shares)
