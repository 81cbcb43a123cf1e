"""The plan as a person reads it: what will happen, what it costs, what it needs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gift_dsl.plan import FilePrint, missing_prints, plan_hash
from gift_dsl.report.sample_sizes import DEFAULT_DIFFERENCE, DEFAULT_SPREAD, sample_size_lines, sample_sizes

if TYPE_CHECKING:
    from gift_dsl.api import Checked, CheckedRun
    from gift_dsl.compiler.compile import Compiled
    from gift_dsl.compiler.estimate import StageEstimate
    from gift_dsl.compiler.examinations import BenchmarkCount, EvaluationEstimate

_UNITS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float) -> str:
    """A count in at most four characters and a unit: 942, 4.6k, 177M."""
    for size, unit in _UNITS:
        if value >= size:
            scaled = value / size
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns aligned: the first two to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i < 4 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


_HEAD: Final = (
    "stage",
    "trainer",
    "kind",
    "games",
    "steps",
    "episodes/step",
    "updates/step",
    "turns",
    "tokens/episode",
    "longest",
    "tokens total",
    "opponent calls/step",
)


def _cells(stage: StageEstimate) -> tuple[str, ...]:
    total = stage.to_json()["total"]
    played = stage.type == "grpo"
    return (
        stage.name,
        stage.type,
        stage.kind,
        stage.games,
        str(stage.steps) if stage.steps else "as data",
        f"{stage.episodes} ({stage.groups}x{stage.group_size})" if played else "-",
        str(stage.updates),
        str(stage.turns),
        amount(stage.tokens_typical),
        amount(stage.tokens_longest),
        amount(total["tokens"]) if played else "-",
        amount(stage.opponent_calls) if played else "-",
    )


def _blocks(stages: Sequence[StageEstimate]) -> Iterator[str]:
    """One block a stage, for narrow terminals."""
    for stage in stages:
        cells = dict(zip(_HEAD, _cells(stage), strict=True))
        yield f"stage {cells.pop('stage')}: {cells.pop('trainer')}, {cells.pop('kind')} {cells.pop('games')}"
        line = ""
        for name, value in cells.items():
            entry = f"{name} {value}"
            if line and len(line) + len(entry) > 74:
                yield f"  {line}"
                line = ""
            line = f"{line}, {entry}" if line else entry
        yield f"  {line}"


def _schedules(stages: Sequence[StageEstimate]) -> Iterator[str]:
    for stage in stages:
        if stage.schedule:
            shown = ", ".join(stage.schedule[:12]) + (", …" if len(stage.schedule) > 12 else "")
            yield f"  {stage.name} takes turns: {shown} (a cycle of {len(stage.schedule)} steps)"


def _examinations(found: EvaluationEstimate) -> Iterator[str]:
    """Each kind of evaluation on games in a line; games and opponents are named where they change."""
    before = ""
    for one in found.examinations:
        where = {"probe": f"probe of {one.stage} every {one.every} steps", "final": "final"}
        named = [_against(name, one.opponents[name]) for name in one.games]
        games = ", ".join([*named, *(f"chain {name}" for name in one.chains)])
        times = f" x {one.times} probes" if one.what == "probe" and one.times > 1 else ""
        times = _tested(one.times, found.subjects) if one.what == "final" else times
        shown = "the same" if games == before else games
        yield (
            f"  {where.get(one.what, f'{one.what} {one.stage}')} on {one.split}: {shown}; {one.rounds} rounds of "
            f"each{times}, {amount(one.times * one.episodes)} episodes"
        )
        before = games


def _tested(times: int, subjects: Sequence[str]) -> str:
    """Whom a final evaluation is of, where it is of more than one checkpoint."""
    checkpoints = times - len(subjects)
    if times == 1:
        return ""
    return f" for {', '.join([f'{checkpoints} checkpoint' + 's' * (checkpoints > 1), *subjects])}"


def _against(game: str, opponents: Sequence[str]) -> str:
    return f"{game} (against {', '.join(opponents)})" if opponents else game


def _benchmark(one: BenchmarkCount) -> str:
    items = "" if one.items is None else f" {one.items:,}"
    return f"{one.name}{items}" + ("" if one.judge is None else f" (judge {one.judge})")


def _evaluation(compiled: Compiled) -> Iterator[str]:
    """What will be measured, and how much of the playing that is."""
    found = compiled.evaluation
    if not found.examinations and not found.benchmarks:
        yield "Evaluation: none"
        return
    trained = sum(stage.to_json()["total"]["episodes"] for stage in compiled.estimates)
    history = "; prompts without history" if found.history == "none" else ""
    yield f"Evaluation: {amount(found.episodes)} episodes of games (training: {amount(trained)}){history}"
    yield from _examinations(found)
    if found.benchmarks:
        asked = _tested(found.benchmarks[0].times, found.subjects)
        yield f"  benchmarks{asked}, items: {', '.join(map(_benchmark, found.benchmarks))}"


def _cost(compiled: Compiled) -> Iterator[str]:
    """Requests to opponents and their price; a judge and a subject of benchmarks are not in it."""
    totals = [stage.to_json()["total"] for stage in compiled.estimates]
    training = sum(total["opponent_calls"] for total in totals)
    calls = training + compiled.evaluation.opponent_calls
    if not calls:
        return
    costs: list[float | None] = [*(total["opponent_usd"] for total in totals), compiled.evaluation.opponent_usd]
    known = [cost for cost in costs if cost is not None]
    told = (
        f"Opponents: {amount(training)} calls in training, {amount(compiled.evaluation.opponent_calls)} in evaluation"
    )
    if len(known) < len(costs):
        yield f"{told}; cost not known (an endpoint has no `usd_per_mtok`)"
    else:
        yield f"{told}; about {sum(known[:-1]):,.2f} and {known[-1]:,.2f} USD"


def _memory(compiled: Compiled, limit: float | None) -> Iterator[str]:
    memory = compiled.memory
    if memory is None:
        yield "Memory: not known (the model's config.json is not on this machine)"
        return
    digits = 2 if memory.peak >= 0.1 else 4
    terms = {k: v for k, v in memory.terms().items() if v > 0 and not k.endswith("peak")}
    shown = ", ".join(f"{name} {value:.{digits}f}" for name, value in terms.items())
    yield f"Memory (GiB, one device, {memory.where}): {shown}"
    peaks = f"  training peak {memory.training_peak:.{digits}f}, rollout peak {memory.rollout_peak:.{digits}f}"
    rest = f", `{'`, `'.join(memory.left_out)}` not counted" if memory.left_out else ""
    fits = "" if limit is None else f"; {'fits' if memory.peak <= limit else 'does NOT fit'} into {limit:g} GiB{rest}"
    yield peaks + fits + " (estimate, +-25 %)"
    if memory.waiting:
        yield f"  and {memory.waiting:.{digits}f} of the CPU's memory in each process, where snapshots wait"
    if memory.left_out:
        yield f"  not counted, for their config.json is not on this machine: {', '.join(memory.left_out)}"


def _needs(compiled: Compiled) -> Iterator[str]:
    needs = compiled.needs
    items: list[str] = []
    for end in needs.endpoints:
        key = end["api_key_env"]
        told = "" if key is None else f", key {key} " + ("set" if end["key_is_set"] else "NOT SET")
        items.append(f"endpoint {end['name']} ({end['model']} at {end['base_url']}{told})")
    for kind, entries in (("model", needs.models), ("dataset", needs.datasets)):
        for entry in entries:
            state = [] if entry["found"] else ["not on this machine"]
            state += [] if entry["pinned"] else ["not pinned"]
            items.append(f"{kind} {entry['name']}" + (f" ({', '.join(state)})" if state else ""))
    if needs.disk_gib is not None:
        items.append(f"disk about {needs.disk_gib:.1f} GiB")
    yield "Needs: " + ("; ".join(items) if items else "nothing")


def _hours(run: CheckedRun, stages: Sequence[StageEstimate]) -> Iterator[str]:
    """Hours and money, only from the user's own numbers."""
    assert run.context is not None
    resources = run.context.spec.resources
    if resources.tokens_per_second is None:
        return
    hours = sum(stage.to_json()["total"]["tokens"] for stage in stages) / resources.tokens_per_second / 3600
    price = resources.usd_per_device_hour
    money = "" if price is None else f", {hours * resources.processes * price:,.2f} USD"
    yield f"Time: about {hours:,.1f} h at {resources.tokens_per_second:g} tokens/s{money}"


def _waiting(item: FilePrint) -> str:
    """A file that is not here, and why; the reason names it where it is a path."""
    reason = item.reason or ""
    return reason if reason.startswith(item.name) else f"{item.name} is {reason}"


def _run(run: CheckedRun, width: int) -> Iterator[str]:
    compiled = run.compiled
    assert compiled is not None
    assert run.context is not None
    spec = run.context.spec
    digest = plan_hash(compiled.plan)
    title = f"Plan for {spec.name}" + (f" [{run.id}]" if run.id else "")
    yield f"{title}   spec {compiled.plan.spec_hash[:12]}   plan {digest[:12] if digest else 'open'}"
    if digest is None:
        waits = "; ".join(_waiting(item) for item in missing_prints(compiled.plan))
        yield f"  (without these files the plan has no hash: {waits})"
    rows = table([_HEAD, *(_cells(stage) for stage in compiled.estimates)])
    yield from rows if max(len(row) for row in rows) <= width else _blocks(compiled.estimates)
    yield from _schedules(compiled.estimates)
    open_games = [game.name for game in compiled.plan.games if not game.held_out]
    if open_games:
        yield f"Held-out: none for {', '.join(open_games)} (too few distinct instances to split)"
    yield from _evaluation(compiled)
    yield from _cost(compiled)
    yield from _hours(run, compiled.estimates)
    yield from _memory(compiled, spec.resources.device_memory_gib)
    yield from _needs(compiled)


def _others(runs: Sequence[CheckedRun]) -> Iterator[str]:
    """The runs of a sweep in a line each, after the first one in full."""
    yield f"Sweep of {len(runs)} runs; the first is shown in full:"
    for run in runs:
        assert run.compiled is not None
        stages = run.compiled.estimates
        steps = sum(stage.steps for stage in stages)
        games = sum(stage.subgame_episodes * stage.steps for stage in stages)
        updates = sum(stage.updates * stage.steps for stage in stages)
        tokens = sum(stage.policy_tokens * stage.steps for stage in stages)
        steps = f"{steps} steps" + " and those of recordings" * any(not stage.steps for stage in stages)
        counts = f"{steps}, {amount(games)} games, {updates} updates, {amount(tokens)} sampled tokens"
        yield f"  {run.id}: {counts}, spec {run.compiled.plan.spec_hash[:12]}"


def plan_text(
    checked: Checked,
    *,
    width: int = 120,
    difference: float = DEFAULT_DIFFERENCE,
    spread: float = DEFAULT_SPREAD,
) -> str:
    """The whole text of `gift plan`; not a stable format (use `--json`).

    Args:
        checked: a spec without errors.
        width: of the terminal, in columns.
        difference: that rounds and seeds are counted for, as `sample_sizes` takes it.
        spread: between seeds, likewise.
    """
    first, *others = checked.runs
    lines = [*_others(checked.runs), ""] if others else []
    lines += _run(first, width)
    lines += sample_size_lines(sample_sizes(checked.runs, difference, spread))
    return "\n".join(piece for line in lines for piece in _wrapped(line, width))


def _wrapped(line: str, width: int) -> list[str]:
    """A line cut between words where it is longer than the terminal is wide; what follows is indented."""
    if len(line) <= width:
        return [line]
    return textwrap.wrap(line, max(width, 40), subsequent_indent="  ", break_on_hyphens=False, break_long_words=False)
