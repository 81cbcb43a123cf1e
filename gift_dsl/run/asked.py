"""What a command asks to be evaluated on: names of games, chains and benchmarks, looked up in a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from gift_dsl.errors import GiftError, UsageError
from gift_dsl.evaluate.items import SOURCES, load_items
from gift_dsl.plan import JsonMap, Node, Plan, chains_of, leaves

DEFAULT_ROUNDS: Final = 100
_BUILTIN: Final = "lm_eval/"


def planned_rounds(plan: Plan) -> int:
    """Rounds of the final evaluation, else of the probe, else 100."""
    planned = [one.rounds for one in (plan.evaluation.final, plan.evaluation.probe) if one is not None]
    return planned[0] if planned else DEFAULT_ROUNDS


def planned_games(plan: Plan) -> tuple[tuple[str, ...], Mapping[str, Node]]:
    """The games and chains of the final evaluation; without one, those of the last stage."""
    final, last = plan.evaluation.final, plan.stages[-1]
    games = tuple(dict.fromkeys(leaf.game for leaf in leaves(last.play))) if final is None else final.games
    return games, chains_of(last)


def named_games(plan: Plan, names: Sequence[str]) -> tuple[tuple[str, ...], Mapping[str, Node]]:
    """Games by their names; the name of a stage stands for all that it plays in one trajectory.

    Raises:
        UsageError: there is no game or stage of a name, or the stage has no trajectory of several games.
    """
    known = [game.name for game in plan.games]
    chains = {name: node for stage in plan.stages for name, node in chains_of(stage).items()}
    for name in names:
        if name not in known and name not in chains:
            raise UsageError(f"there is no game `{name}` to play{_near(name, [*known, *chains])}")
    return tuple(name for name in names if name in known), {name: chains[name] for name in names if name in chains}


def named_benchmarks(plan: Plan, names: Sequence[str], judge: str | None = None) -> tuple[JsonMap, ...]:
    """Benchmarks by name, with the fields that the plan gives them.

    Args:
        plan: may list some of them.
        names: ours, or `lm_eval/TASK` and `lm_eval/TASK@SHOTS` for lm-eval's own.
        judge: of CommonGen, instead of the plan's.

    Raises:
        UsageError: nothing has such a name, or CommonGen has no judge.
    """
    planned = {benchmark_name(one): one for one in plan.evaluation.benchmarks}
    found = [planned[name] if name in planned else _benchmark(name) for name in names]
    return tuple(with_judge(one, judge) for one in found)


def with_judge(benchmark: JsonMap, judge: str | None) -> JsonMap:
    """A benchmark with another judge, if it needs one.

    Raises:
        UsageError: it needs one and there is none.
    """
    if benchmark["type"] != "commongen":
        return benchmark
    name = judge or benchmark.get("judge")
    if name is None:
        raise UsageError(
            "commongen needs a judge: --judge NAME, an `openai` opponent of the spec, or --judge stand-in, which is "
            "offline and never labelled CommonGen"
        )
    return {**benchmark, "judge": name}


def benchmark_name(benchmark: JsonMap) -> str:
    """As commands and results call it: `mmlu`, `lm_eval/mmlu`, `lm_eval/mmlu@5`."""
    if benchmark["type"] != "lm_eval":
        return str(benchmark["type"])
    shots = benchmark.get("num_fewshot")
    return f"{_BUILTIN}{benchmark['task']}" + ("" if shots is None else f"@{shots}")


def limited(benchmarks: Sequence[JsonMap], limit: int | None, data: Path | None) -> tuple[JsonMap, ...]:
    """Benchmarks with at most so many items each, and with rows from a folder.

    Args:
        benchmarks: type and fields of each.
        limit: None: as they are.
        data: folder of the rows, or with a folder for each benchmark; None: as they are.
    """
    more: dict[str, Any] = {} if limit is None else {"limit": limit}
    return tuple({**one, **more, **({} if data is None else _rows(one, data))} for one in benchmarks)


def benchmark_problems(plan: Plan) -> Iterator[str]:
    """What the benchmarks of a plan lack on this machine; a run of days must not find that out at its end.

    Tasks of lm-eval are looked at only as far as their `data_dir`: loading them takes minutes.
    """
    folder = Path(plan.runtime.folder)
    for benchmark in plan.evaluation.benchmarks:
        given = benchmark.get("data_dir")
        data = None if given is None else folder / Path(given).expanduser()
        if benchmark["type"] in SOURCES:
            try:
                load_items(benchmark["type"], data, benchmark.get("revision"))
            except GiftError as error:
                yield str(error)
        elif data is not None and not data.exists():
            yield f"benchmark `{benchmark['task']}`: there is no folder {data}"


def _rows(benchmark: JsonMap, data: Path) -> dict[str, str]:
    """The folder of a benchmark's name, else the folder itself; a task's may be its group's: `mmlu` of its subjects."""
    words = str(benchmark.get("task", benchmark["type"])).split("_")
    fewest = 1 if benchmark["type"] == "lm_eval" else len(words)
    names = ("_".join(words[:number]) for number in range(len(words), fewest - 1, -1))
    found = next((data / name for name in names if (data / name).exists()), data)
    return {"data_dir": str(found.resolve())}


def _benchmark(name: str) -> JsonMap:
    if name in SOURCES:
        return {"type": name}
    task, _, shots = name.removeprefix(_BUILTIN).partition("@")
    if not name.startswith(_BUILTIN) or not task or (shots and not shots.isdecimal()):
        raise UsageError(
            f"there is no benchmark `{name}`{_near(name, list(SOURCES))}; lm-eval's own are `lm_eval/TASK` or "
            "`lm_eval/TASK@SHOTS`"
        )
    return {"type": "lm_eval", "task": task, "num_fewshot": int(shots) if shots else None}


def _near(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(known)}"
