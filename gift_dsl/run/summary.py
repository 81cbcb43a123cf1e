"""What a run came to: `summary.json` (gift-summary/1) and its table for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import read_object
from gift_dsl.artifacts.lines import read_lines
from gift_dsl.plan import Plan, StagePlan, plan_hash
from gift_dsl.run.progress import duration
from gift_dsl.run.spent import read_spent

SUMMARY_SCHEMA: Final = "gift-summary/1"


def make_summary(run: RunDirectory, plan: Plan) -> dict[str, Any]:
    """Everything that was measured, with the totals of all sessions.

    Returns:
        `stages[]` with `name`, `type`, `steps`, and by game `before` and `after` on dev, each with `successes`,
        `rounds`, `rate`, `interval`; `chain` the same for the parts of a trajectory of several; `final` on test;
        `history`, what the prompts of all of them held of earlier turns; `opponents`, by name what their servers said
        that they are; `wall_s`, seconds of all sessions together, loading and measuring included.
    """
    records = list(read_lines(run.metrics))
    usage = read_spent(run)
    return {
        "schema": SUMMARY_SCHEMA,
        "name": plan.runtime.name,
        "run_id": plan.runtime.run_id,
        "run": str(run.path),
        "spec_hash": plan.spec_hash,
        "plan_hash": plan_hash(plan),
        "seed": plan.seed,
        "history": plan.evaluation.history,
        "stages": [
            _stage(run, stage, [one for one in records if one.get("stage") == stage.name]) for stage in plan.stages
        ],
        "final": _evaluation(run, "final"),
        "benchmarks": _evaluation(run, "benchmarks"),
        "opponents": {name: {"served": one.get("served", {})} for name, one in usage.items()},
        "wall_s": run.status.wall_s,
        "totals": {
            "steps": len(records),
            "episodes": _sum(records, "episodes"),
            "policy_tokens": _sum(records, "policy_tokens"),
            "opponent_calls": sum(one["calls"] for one in usage.values()),
            "opponent_usd": sum(one["usd"] + one["usd_unreported"] for one in usage.values()),
        },
    }


def summary_text(summary: Mapping[str, Any]) -> str:
    """The same as a table: before and after each stage, with 95 % intervals."""
    rows: list[tuple[str, ...]] = [("stage", "game", "before", "after", "change", "chance", "held out")]
    for stage in summary["stages"]:
        for game, score in stage["games"].items():
            rows.append((stage["name"], game, *_cells(score)))
        for label, score in stage["chain"].items():
            rows.append((stage["name"], f"{label} (in the chain)", *_cells(score)))
    lines = list(_table(rows)) if len(rows) > 1 else ["nothing was measured: the spec has neither probe nor final"]
    if summary["final"] is not None:
        lines += ["", *_table([("final test", "rate", "rounds"), *_final(summary["final"])])]
    if summary["benchmarks"] is not None:
        lines += ["", *_table([("benchmark", "score", "items"), *_benchmarks(summary["benchmarks"])])]
    if summary.get("history") == "none":
        lines += ["", "measured with prompts without history: each holds the rules and the present state alone"]
    totals = summary["totals"]
    lines += [
        "",
        f"{totals['steps']} steps, {totals['episodes']:,.0f} episodes, {totals['policy_tokens']:,.0f} tokens of the "
        f"policy in {duration(summary['wall_s'])}"
        + (f", {totals['opponent_calls']} opponent calls" if totals["opponent_calls"] else ""),
        f"run: {summary['run']}",
    ]
    return "\n".join(lines)


def _stage(run: RunDirectory, stage: StagePlan, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    before, after = (_evaluation(run, f"{stage.name}-{when}") for when in ("before", "after"))
    known: dict[str, Any] = before or after or {"games": {}, "chains": {}}
    games: list[str] = list(known["games"])
    labels: list[str] = list(known["chains"].get(stage.name, {}))
    chain_before, chain_after = _chain(before, stage), _chain(after, stage)
    return {
        "name": stage.name,
        "type": stage.type,
        "reward": stage.reward,
        "steps": len(records),
        "policy_tokens": _sum(records, "policy_tokens"),
        "games": {
            game: {
                "before": None if before is None else before["games"].get(game),
                "after": None if after is None else after["games"].get(game),
            }
            for game in games
        },
        "chain": {label: {"before": chain_before.get(label), "after": chain_after.get(label)} for label in labels},
    }


def _chain(found: Mapping[str, Any] | None, stage: StagePlan) -> Mapping[str, Any]:
    return {} if found is None else found["chains"].get(stage.name, {})


def _evaluation(run: RunDirectory, name: str) -> dict[str, Any] | None:
    """A file of eval/, without its single rounds."""
    try:
        document = read_object(run.evaluation / f"{name}.json")
    except FileNotFoundError:
        return None
    return {key: value for key, value in document.items() if key != "plays"}


def _sum(records: Sequence[Mapping[str, Any]], key: str) -> float:
    return sum(one.get(key) or 0.0 for one in records)


def _cells(score: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = score["before"], score["after"]
    known = before or after
    assert known is not None
    chance = known["chance"]
    return (
        _rate(before),
        _rate(after),
        _change(before, after),
        "" if chance is None else f"{chance:.2f}",
        str(known["held_out"]),
    )


def _rate(score: Mapping[str, Any] | None) -> str:
    """With its interval and, where rounds have no result, their number and what the rate might be with them."""
    if score is None:
        return "-"
    low, high = score["interval"]
    rate = "-" if score["rate"] is None else f"{score['rate']:.3f} [{low:.2f}, {high:.2f}]"
    missing = score["counts"]["void"] + score["unplayed"]
    if not missing:
        return rate
    least, most = score["rate_bounds"]
    return f"{rate}, {missing} without a result: {least:.3f} to {most:.3f}"


def _change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Up or down only where the two intervals are disjoint; that is no test of a method, which needs several seeds."""
    if before is None or after is None or before["rate"] is None or after["rate"] is None:
        return ""
    if after["interval"][0] > before["interval"][1]:
        return "up"
    if after["interval"][1] < before["interval"][0]:
        return "down"
    return "unclear"


def _final(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for who, found in {**document["checkpoints"], **document.get("subjects", {})}.items():
        for game, score in found["games"].items():
            yield f"{game} ({who})", _rate(score), str(score["rounds"])


def _benchmarks(document: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for who, found in {**document["checkpoints"], **document["subjects"]}.items():
        for task, ends in found["intervals"].items():
            values = found["results"].get(task) or found["groups"][task]
            for column, (low, high) in ends.items():
                items = found["n-samples"].get(task, {}).get("effective", "")
                yield f"{task} {column} ({who})", f"{values[column]:.3f} [{low:.2f}, {high:.2f}]", str(items)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
