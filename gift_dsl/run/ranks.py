# pyright: basic
"""The processes of an evaluation: those of a launcher, or new ones that this one starts and watches.

    python -m gift_dsl.run.ranks ORDER

is one of the new ones: ORDER is a file of what is to be evaluated. What goes wrong is left beside it, for the process
that waits to raise.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.artifacts.plan_file import from_json
from gift_dsl.errors import GiftError, LimitReached, MachineError, UsageError
from gift_dsl.evaluate.games import chains_of
from gift_dsl.plan import Plan, to_json
from gift_dsl.players.keys import resolve_key
from gift_dsl.players.make import FindKey, Services, host_limits
from gift_dsl.players.network import Network
from gift_dsl.players.usage import Budget
from gift_dsl.run.evaluate import EvalRequest, check_target, evaluate_target, read_eval
from gift_dsl.run.given import given_processes, join_given, stay_apart
from gift_dsl.run.processes import end, start_together, wait_for
from gift_dsl.run.subjects import Who
from gift_dsl.settings import load_key_bindings
from gift_dsl.train.team import Team, is_of_another

_KINDS: Final = {kind.__name__: kind for kind in (GiftError, LimitReached, UsageError, MachineError)}


@contextmanager
def given_team(processes: int | None) -> Generator[Team]:
    """This process among those of a launcher; without one, alone.

    Args:
        processes: that were asked for; None: as many as there are.

    Raises:
        UsageError: the launcher started another number of processes.
    """
    given = given_processes()
    if given is None:
        yield Team()
        return
    if processes not in (None, given):
        raise UsageError(f"the launcher started {given} processes, and {processes} were asked for")
    try:
        yield _team(join_given())
    except BaseException:
        stay_apart()
        raise


def evaluate_apart(request: EvalRequest, processes: int, find_key: FindKey) -> dict[str, Any]:
    """Evaluate in new processes that share the work; they say on standard error what happens.

    Args:
        request: what is to be evaluated.
        processes: number of them.
        find_key: is asked for every key here, where there may be a person to ask.

    Raises:
        UsageError, MachineError, LimitReached: as `evaluate_target`.
        GiftError: also where a process died.
    """
    check_target(request, find_key)
    with tempfile.TemporaryDirectory(prefix="gift-") as folder:
        order = Path(folder) / "order.json"
        write_whole(order, json_text(_order(request)))
        code = wait_for(start_together([sys.executable, "-m", "gift_dsl.run.ranks", str(order)], processes))
        if code:
            raise _failure(Path(folder), code)
    return read_eval(request.output)


def services_maker(plan: Plan, find_key: FindKey, team: Team) -> Callable[[], Services]:
    """Connections of their own for each event loop; all processes together keep to the spec's limits.

    Args:
        plan: of endpoints and limits.
        find_key: gives the key of an endpoint.
        team: the processes.
    """
    runtime, size = plan.runtime, team.size
    usd, calls = runtime.limits.get("opponent_usd"), runtime.limits.get("opponent_calls")
    budget = Budget(
        opponent_usd=None if usd is None else usd / size,
        opponent_calls=None if calls is None else calls // size + (team.rank < calls % size),
    )
    first = Services(Network(), budget, base_urls=runtime.base_urls, find_key=find_key)

    def make() -> Services:
        most = host_limits((url, runtime.concurrency[name]) for name, url in runtime.base_urls.items())
        return replace(first, network=Network(most))

    return make


def _team(state: Any) -> Team:
    from accelerate.utils import gather_object

    return Team(state.process_index, state.num_processes, lambda value: gather_object([value]))


# ── what a new process is told, and what it tells ──


def _order(request: EvalRequest) -> dict[str, Any]:
    """A request as plain values; chains by their names."""
    plain = {
        "plan": to_json(request.plan),
        "who": asdict(request.who),
        "chains": list(request.chains),
        "benchmarks": to_json(request.benchmarks),
        "output": str(request.output),
    }
    return {field.name: getattr(request, field.name) for field in fields(request)} | plain


def _request(order: dict[str, Any]) -> EvalRequest:
    plan = from_json(order["plan"])
    chains = {name: node for stage in plan.stages for name, node in chains_of(stage).items()}
    more = {
        "plan": plan,
        "who": Who(**order["who"]),
        "games": tuple(order["games"]),
        "chains": {name: chains[name] for name in order["chains"]},
        "benchmarks": tuple(order["benchmarks"]),
        "output": Path(order["output"]),
    }
    return EvalRequest(**(order | more))


def _failure(folder: Path, code: int) -> GiftError:
    """What the processes left, of the lowest rank that speaks of itself."""
    left = [read_object(path) for path in sorted(folder.glob("failed-*.json"))]
    told = sorted(left, key=lambda one: is_of_another(one["message"]))
    if not told:
        return GiftError(f"a process of the evaluation ended with {code}; what was finished is kept")
    return _KINDS.get(told[0]["kind"], GiftError)(told[0]["message"])


# ── a new process ──


def main(arguments: list[str]) -> int:
    """Evaluate as one of several processes; the exit code of the design."""
    order = Path(arguments[0])
    faulthandler.enable()
    from gift_dsl.run.stage import join_ranks
    from gift_dsl.run.worker import end_with_parent, quieten

    threading.Thread(target=end_with_parent, daemon=True).start()
    quieten()
    request = _request(json.loads(order.read_text(encoding="utf-8")))
    _share_threads(request.plan)
    state = join_ranks()
    team, bindings = _team(state), load_key_bindings()
    make = services_maker(request.plan, lambda env, url: resolve_key(env, url, bindings), team)
    try:
        evaluate_target(request, make, _say, team)
    except GiftError as error:
        told = {"kind": type(error).__name__, "message": str(error)}
        write_whole(order.with_name(f"failed-{team.rank:06d}.json"), json_text(told))
        return error.exit_code
    state.destroy_process_group()
    return 0


def _share_threads(plan: Plan) -> None:
    """As many threads for each process as a run would have; accelerate warns where nobody says how many."""
    import torch

    processes = given_processes() or 1
    threads = int(plan.runtime.resources.get("threads") or max(1, (os.cpu_count() or 1) // processes))
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    end(main(sys.argv[1:]))
