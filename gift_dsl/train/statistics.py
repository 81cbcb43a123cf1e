"""What one step logs: flat names and numbers.

Names begin with what they are about: `return`, `game/<name>/…`, `groups/<name>/…`, `opponent/<name>/…`, `update/…`,
`mismatch/…`, `time/…`. Rates are shares in [0, 1] of the plays of a game, times are seconds.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from gift_dsl.plan import AlgorithmPlan
from gift_dsl.records import PartRecord, Trajectory
from gift_dsl.train.importance import Mismatch
from gift_dsl.train.select import Selection
from gift_dsl.train.state import num_sampled_ids
from gift_dsl.train.step import Step

OUTCOMES = ("success", "draw", "loss", "bad_format", "illegal_action", "void", "unplayed")


def step_metrics(step: Step, algorithm: AlgorithmPlan) -> dict[str, float]:
    """Of what was played and selected.

    Args:
        step: with the clock of this process.
        algorithm: for the number of groups asked for.
    """
    trajectories = [one for group in step.played for one in group.trajectories]
    returns = [one.raw_return for one in trajectories if one.raw_return is not None]
    tokens = sum(map(num_sampled_ids, trajectories))
    clock = step.clock
    return {
        "return": statistics.fmean(returns) if returns else 0.0,
        "return_std": statistics.stdev(returns) if len(returns) > 1 else 0.0,
        "episodes": len(trajectories),
        "void_share": sum(one.is_void for one in trajectories) / max(1, len(trajectories)),
        "policy_tokens": tokens,
        "refills": step.refills,
        **{name: value for game, parts in by_game(trajectories).items() for name, value in _game(game, parts)},
        **_groups(step.selection),
        **_opponents(trajectories),
        "update/trajectories": sum(update.num_trajectories for update in step.updates) / max(1, algorithm.epochs),
        "time/play_s": clock.play,
        "time/generate_s": clock.generate,
        "time/opponents_s": clock.opponents,
        "time/environment_s": clock.environment,
        "tokens_per_s": tokens / clock.play if clock.play else 0.0,
    }


def update_metrics(logged: Sequence[Mapping[str, float]], mismatch: Mismatch) -> dict[str, float]:
    """Of the updates of a step, in order.

    Args:
        logged: what the trainer logged of each; means are taken, of the gradient's norm the largest too.
        mismatch: of engine and trainer; not logged where nothing was compared.
    """
    names = {
        "loss": "loss",
        "grad_norm": "grad_norm",
        "learning_rate": "learning_rate",
        "entropy": "entropy",
        "kl": "kl",
        "clip_ratio/region_mean": "clip_share",
        "clip_ratio/low_mean": "clip_share_low",
        "clip_ratio/high_mean": "clip_share_high",
    }
    found = {
        f"update/{name}": statistics.fmean(one[key] for one in logged if key in one)
        for key, name in names.items()
        if any(key in one for one in logged)
    }
    norms = [one["grad_norm"] for one in logged if "grad_norm" in one]
    if norms:
        found["update/grad_norm_max"] = max(norms)
    if mismatch.num_tokens:
        found |= {
            "mismatch/abs_difference": mismatch.abs_difference,
            "mismatch/kl": mismatch.kl,
            "mismatch/truncated_share": mismatch.truncated,
        }
    return found


def by_game(trajectories: Sequence[Trajectory]) -> Mapping[str, list[PartRecord]]:
    """Every part that was dealt, by name of its game in alphabetical order."""
    found: dict[str, list[PartRecord]] = {}
    for trajectory in trajectories:
        for part in trajectory.parts:
            found.setdefault(part.game, []).append(part)
    return dict(sorted(found.items()))


def _game(game: str, parts: Sequence[PartRecord]) -> Iterator[tuple[str, float]]:
    """Rates of those that were played; how many were not stands beside."""
    counts = Counter(part.outcome for part in parts)
    played = len(parts) - counts["void"] - counts["unplayed"]
    for outcome in OUTCOMES:
        whole = len(parts) if outcome in ("void", "unplayed") else played
        yield f"game/{game}/{outcome}", counts[outcome] / whole if whole else 0.0
    yield f"game/{game}/plays", played
    rewards = [part.reward for part in parts if part.reward is not None]
    yield f"game/{game}/reward", statistics.fmean(rewards) if rewards else 0.0
    yield f"game/{game}/truncated", sum(part.truncated > 0 for part in parts) / len(parts)
    yield f"game/{game}/opponent_illegal", sum(part.opponent_illegal for part in parts)


def _groups(selection: Selection) -> dict[str, float]:
    counted = {
        "played": selection.num_played,
        "kept": selection.num_kept,
        "tied": selection.num_tied,
        "void": selection.num_void,
    }
    return {
        f"groups/{game}/{what}": float(counts.get(game, 0))
        for game in sorted(selection.num_played)
        for what, counts in counted.items()
    }


def _opponents(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Turns of each that could not be answered."""
    turns, voids = Counter[str](), Counter[str]()
    for trajectory in trajectories:
        for turn in trajectory.turns:
            if turn.sequence is None:
                turns[turn.player] += 1
                voids[turn.player] += turn.end == "fault"
    return {f"opponent/{name}/void": voids[name] / turns[name] for name in sorted(turns) if voids[name]}
