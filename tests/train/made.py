"""Plans, trajectories and groups as the tests of the trainer's mathematics need them: made up, but whole records."""

from __future__ import annotations

import math
from dataclasses import replace

from gift_dsl.plan import AlgorithmPlan, BatchPlan
from gift_dsl.records import Group, PartRecord, Sequence, Trajectory, TurnRecord
from gift_dsl.spec.models.algorithm import PRESETS

VOCABULARY = 6
GIVEN = 0
"""The id of everything that was not sampled."""


def algorithm(preset="gift_v1", **changes):
    return replace(AlgorithmPlan(preset=preset, **PRESETS[preset]), **changes)


def batch_plan(kept=2, size=4, rows_per_trajectory=1, mini=None, epochs=1):
    """The sizes of a step as the compiler computes them."""
    trajectories = kept * size
    mini = mini or trajectories
    return BatchPlan(
        groups=kept,
        group_size=size,
        episodes=trajectories,
        trained_seats=1,
        kept_groups=kept,
        rows_per_trajectory=rows_per_trajectory,
        rows=trajectories * rows_per_trajectory * epochs,
        updates=trajectories // mini * epochs,
        rows_per_update=mini * rows_per_trajectory,
    )


def turn(part, sequence, span, end="action", penalty=0.0):
    action = "1" if end == "action" else None
    return TurnRecord(
        part, 0, "policy", "text", action, end, tokens=span[1] - span[0], sequence=sequence, span=span, penalty=penalty
    )


def spoken(pieces, prompt=(1, 2)):
    """A sequence of pieces (part, turn, ids): sampled ones, with one given id between them."""
    ids, mask, parts, turns = [], [], [], []
    for place, (part, number, sampled) in enumerate(pieces):
        between = [GIVEN] if place else []
        ids += [*between, *sampled]
        mask += [0] * len(between) + [1] * len(sampled)
        parts += [part] * (len(between) + len(sampled))
        turns += [-1] * len(between) + [number] * len(sampled)
    logprobs = [-0.5 if bit else 0.0 for bit in mask]
    return Sequence(tuple(prompt), tuple(ids), tuple(mask), tuple(logprobs), tuple(parts), tuple(turns))


def made(
    rewards,
    *,
    turns=None,
    context="shared",
    penalties=None,
    worth=None,
    is_void=False,
    rng=None,
    **fields,
):
    """A trajectory of one part for each reward; the return is their mean.

    Args:
        rewards: of the parts, labelled a, b, c, …
        turns: of each part the numbers of ids of its turns; one turn of two ids unless given.
        context: `shared`, `fresh` (a sequence for each part) or `turns` (one for each turn).
        penalties: of each part the penalties of its turns.
        worth: outcome_return, if it is not the mean.
        is_void: a player failed in the last part.
        rng: draws the ids; all are 3 unless given.
        fields: group, member, task.
    """
    turns = turns or [[2]] * len(rewards)
    penalties = penalties or [[0.0] * len(lengths) for lengths in turns]
    pieces = []
    for part, lengths in enumerate(turns):
        for place, length in enumerate(lengths):
            ids = tuple(3 if rng is None else rng.randrange(1, VOCABULARY) for _ in range(length))
            pieces.append((part, len(pieces), ids, penalties[part][place]))
    key = {"shared": lambda piece: 0, "fresh": lambda piece: piece[0], "turns": lambda piece: piece[1]}[context]
    chosen = sorted({key(piece) for piece in pieces})
    sequences = tuple(spoken([piece[:3] for piece in pieces if key(piece) == one]) for one in chosen)
    labels = "abcdefgh"
    said = [_said(labels, sequences, chosen.index(key(piece)), piece) for piece in pieces]
    parts = [
        PartRecord(
            labels[part], labels[part], "x", 0, "", "success" if reward else "loss", reward, sum(penalties[part])
        )
        for part, reward in enumerate(rewards)
    ]
    if is_void:
        parts[-1] = replace(parts[-1], outcome="void", reward=None)
    group, member = fields.get("group", "s/0/0"), fields.get("member", 0)
    return Trajectory(
        episode=f"{group}/{member}",
        group=group,
        member=member,
        task=fields.get("task", " + ".join(part.label for part in parts)),
        sequences=sequences,
        parts=tuple(parts),
        turns=tuple(said),
        outcome_return=None if is_void else (math.fsum(rewards) / len(rewards) if worth is None else worth),
        penalty=math.fsum(map(math.fsum, penalties)),
    )


def _said(labels, sequences, index, piece):
    """The record of a turn, at its place in its sequence."""
    part, number, ids, penalty = piece
    start = sequences[index].turns.index(number) if ids else 0
    return turn(labels[part], index, (start, start + len(ids)), "bad_format" if penalty else "action", penalty)


def group_of(*members, number=0, task=None):
    """A group of what `made` gave, its members numbered."""
    name = f"s/0/{number}"
    task = task or members[0].task
    named = [
        replace(one, episode=f"{name}/{index}", group=name, member=index, task=task)
        for index, one in enumerate(members)
    ]
    return Group(name, task, tuple(named))


def returning(*returns, number=0, label="a"):
    """A group of one part with these returns; None for a void member."""
    members = [made([value or 0.0], worth=value, is_void=value is None) for value in returns]
    members = [
        replace(one, parts=tuple(replace(part, label=label, game=label) for part in one.parts)) for one in members
    ]
    return group_of(*members, number=number, task=label)


def shares_of(group):
    """Of a mean over the parts."""
    labels = [part.label for part in group.trajectories[0].parts]
    return {group.task: dict.fromkeys(labels, 1 / len(labels))}
