"""Runs that nobody trained: a real plan, a model of random weights where a finished run has one, results as written."""

from __future__ import annotations

import json
import threading
from asyncio import Event, new_event_loop
from contextlib import contextmanager
from pathlib import Path

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.artifacts.manifest import write_manifest
from gift_dsl.artifacts.status import Status
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.rng import stream
from tests.players.server import FaultServer
from tests.run.small import SPEC

PROTOCOL = {"split": "test", "rounds": 40, "seed": 1, "temperature": 1.0, "max_tokens": 6, "max_replays": 3}


def write_spec(folder, text=SPEC):
    path = Path(folder) / "spec.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def plan_of(folder, *sets, text=SPEC):
    (plan,) = api.compile_spec(write_spec(folder, text), sets=sets)
    return plan


def make_run(folder, *sets, text=SPEC):
    """The directory of a run before its first step."""
    plan = plan_of(folder, *sets, text=text)
    lock = make_lock(plan, Machine(1, 1))
    return create_run(Path(folder) / "runs", plan, written={}, resolved={"gift": 1}, lock=lock)


def finished_run(folder, *sets, text=SPEC):
    """A run whose stages hand on the model of random weights that they would have begun with."""
    run = make_run(folder, *sets, text=text)
    for stage in run.plan.stages:
        build_tiny(run.plan, run.stages / stage.name)
    run.set_status(Status("done"))
    write_manifest(run)
    return run


def rounds_of(rate, name, *, rounds=40, void=0, seats=1):
    """Rounds as an evaluation writes them, each a success with a probability, drawn by the name."""
    rng = stream(1, "rounds", name)
    return [
        {
            "number": number // seats,
            "instance": f"i{number // seats}",
            "seat": number % seats,
            "role": "",
            "outcome": "void" if number < void else "success" if rng.random() < rate else "loss",
            "reward": None if number < void else 0.5,
        }
        for number in range(rounds)
    ]


def result_of(plays, opponents=(), **protocol):
    """What an evaluation of some games writes, as far as a comparison reads it."""
    games = {game: {"opponents": list(opponents), "rate": 0.5, "interval": [0.4, 0.6]} for game in plays}
    return {
        "schema": "gift-games/1",
        "protocol": {**PROTOCOL, **protocol},
        "games": games,
        "chains": {},
        "plays": [{"label": game, "chain": None, "rounds": rounds} for game, rounds in plays.items()],
    }


def examined_run(folder, plays, *sets, opponents=(), text=SPEC, **protocol):
    """A run with a final test."""
    run = make_run(folder, *sets, text=text)
    run.evaluation.mkdir()
    document = {"schema": "gift-final/1", "checkpoints": {"final": result_of(plays, opponents, **protocol)}}
    (run.evaluation / "final.json").write_text(json.dumps(document))
    return run.path


def answered(path, name, values, **protocol):
    """What the benchmarks of a run leave, as far as a comparison reads it: a score of each item, None where void."""
    folder = path / "eval" / "benchmarks" / "final"
    folder.mkdir(parents=True, exist_ok=True)
    rows = (
        {"task": name, "doc_id": index, "doc_hash": f"h{index}", "filter": "none", "metrics": ["acc"], "acc": value}
        for index, value in enumerate(values)
    )
    (folder / f"samples_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = {"results": {}, "groups": {}, "intervals": {}, "protocols": {name: {"max_tokens": 600, **protocol}}}
    document = {"schema": "gift-final-benchmarks/1", "checkpoints": {"final": found}, "subjects": {}}
    (path / "eval" / "benchmarks.json").write_text(json.dumps(document))


@contextmanager
def serving(reply):
    """A chat API in a thread of its own, for code that has its own event loop."""
    server, loop, ready = FaultServer(None, reply), new_event_loop(), threading.Event()
    stop: list[Event] = []

    async def serve():
        async with server:
            stop.append(Event())
            ready.set()
            await stop[0].wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop[0].set)
        thread.join(10)
        loop.close()
