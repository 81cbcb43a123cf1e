# pyright: basic
"""One evaluation outside a run: benchmarks and games of one model, each task kept once it is finished.

    <output>.json           the result, `gift-eval/1`
    <output>/games/         a file for each game and chain, every round in it
    <output>/benchmarks/    what `evaluate.benchmarks` keeps

What can be wrong is looked for before anything is asked: rows of games, endpoints, keys, and the input of benchmarks,
which therefore come first. Several processes share rounds and questions; rank 0 alone tells and writes.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from gift_dsl import __version__
from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import json_text, safe_name, sha256_of, write_whole
from gift_dsl.artifacts.manifest import covered_files
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, Progress, chat_hash, evaluate_benchmarks
from gift_dsl.evaluate.games import GamesRequest
from gift_dsl.evaluate.judge import StandInJudge
from gift_dsl.plan import FinalPlan, GamePlan, JsonMap, Node, OpponentPlan, Plan, digest, leaves, plan_hash, to_json
from gift_dsl.play.seats import ModelPlayer, Seat
from gift_dsl.players.look import check_servers
from gift_dsl.players.make import FindKey, Services, make_player, server_of
from gift_dsl.run.examine import Examiner, document_of, read_result, write_result
from gift_dsl.run.request import Tell
from gift_dsl.run.seating import seated_names, table_games
from gift_dsl.run.subjects import Examinee, Who, find_device, find_examinee, find_start_of
from gift_dsl.train.team import Team

EVAL_SCHEMA: Final = "gift-eval/1"
STAND_IN: Final = "stand-in"
"""As a judge: the offline one, whose scores are never called CommonGen."""
_GAME_TASK: Final = "gift-eval-game/1"
_PROMPTS: Final = "gift-game-prompts/1"
_RULES: Final = "gift-game-rules/1"

MakeServices = Callable[[], Services]
"""Connections of their own for one event loop; limits and counts are shared."""


@dataclass(frozen=True, slots=True, eq=False)
class EvalRequest:
    """What is to be evaluated.

    Attributes:
        target: as the user named it.
        plan: games, opponents, prompts, sampling.
        who: is evaluated.
        games: names of games that are played alone.
        chains: compositions that are played whole, by name.
        benchmarks: type and fields of each.
        split: of the games' instances; test only where the user says so.
        rounds: of each game and chain.
        output: the JSON file; tasks are kept in a folder of its name.
        history: what prompts of games hold of earlier turns; none: no chain is played.
    """

    target: str
    plan: Plan
    who: Who
    games: tuple[str, ...]
    chains: Mapping[str, Node]
    benchmarks: tuple[JsonMap, ...]
    split: Literal["dev", "test"]
    rounds: int
    output: Path
    history: Literal["full", "none"] = "full"

    @property
    def tasks(self) -> Path:
        """Folder of what is kept of each task."""
        return self.output.with_suffix("")

    @property
    def played(self) -> tuple[str, ...]:
        """Every game that is played, alone or as a part."""
        parts = (leaf.game for node in self.chains.values() for leaf in leaves(node))
        return tuple(dict.fromkeys((*self.games, *parts)))

    @property
    def judges(self) -> tuple[str, ...]:
        """Whom benchmarks name."""
        return tuple(dict.fromkeys(str(one["judge"]) for one in self.benchmarks if one.get("judge")))


def evaluate_target(
    request: EvalRequest, make_services: MakeServices, tell: Tell, team: Team | None = None
) -> dict[str, Any]:
    """Evaluate, write the result, and return it.

    A task that an earlier evaluation of the same thing finished is not done again, however many processes did it.

    Args:
        request: what is to be evaluated.
        make_services: connections.
        tell: is told what happens, by rank 0.
        team: the processes that share the work, each of which calls this; None: this one alone.

    Raises:
        UsageError: there is nothing to evaluate, or a log-likelihood task is asked of a chat API.
        MachineError: a model, dataset, key or endpoint is missing.
        LimitReached: of dollars or calls; what was finished is kept.
    """
    start, team = time.monotonic(), team or Team()
    tell = tell if team.rank == 0 else _say_nothing
    check_target(request, make_services().find_key)
    with ExitStack() as models:
        examinee = models.enter_context(find_examinee(request.plan, request.who))
        tell(f"{examinee.name}: {examinee.kind} {examinee.source}")

        @cache
        def start_of() -> Examinee:
            return models.enter_context(find_start_of(request.plan, request.who, examinee))

        work = _Work(request, examinee, start_of, make_services, tell, team)
        benchmarks = work.run_benchmarks() if request.benchmarks else None
        games = [work.play(name, {}) for name in request.games]
        chains = [work.play(name, {name: node}) for name, node in request.chains.items()]
    document = _document(request, examinee, [*games, *chains])
    document |= lm_eval_shape(document, benchmarks, work.prompts())
    document["duration_s"] = round(time.monotonic() - start, 3)
    if team.rank == 0:
        request.output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(request.output, json_text(document))
        tell(f"written: {request.output}")
    return document


def _say_nothing(_line: str) -> None:
    pass


def check_target(request: EvalRequest, find_key: FindKey) -> None:
    """See that there is something to do, and that rows and endpoints are there, before a model is loaded.

    Raises:
        UsageError: there is nothing to evaluate.
        MachineError: rows, an endpoint or its key are not there.
    """
    if not request.games and not request.chains and not request.benchmarks:
        raise UsageError(f"there is nothing to evaluate {request.target} on; name some with --games or --benchmarks")
    table_games(request.plan, request.played, request.split)
    if asked := _asked_servers(request):
        asyncio.run(check_servers(asked, find_key))


def _asked_servers(request: EvalRequest) -> list[tuple[str | None, str]]:
    """Name of the key and address of every server that will be asked something."""
    plan, final = request.plan, _final_opponents(request.plan)
    names = {*seated_names(plan, request.played), *(final[game] for game in request.played if game in final)}
    names |= {name for name in (*request.judges, request.who.opponent) if name not in (STAND_IN, None)}
    asked = [item for item in plan.opponents if item.name in names and item.type == "openai"]
    return [server_of(one, plan.runtime.base_urls) for one in asked]


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    request: EvalRequest
    examinee: Examinee
    start: Callable[[], Examinee]
    make_services: MakeServices
    tell: Tell
    team: Team = Team()  # noqa: RUF009 - frozen
    local: dict[str, ModelPlayer] = field(default_factory=dict)

    # ── games ──

    def play(self, name: str, chains: Mapping[str, Node]) -> dict[str, Any]:
        """A game or a chain as `examine.write_result` writes it; taken from an earlier evaluation where it is there."""
        asked = games_request(self.request, () if chains else (name,), chains)
        kept = self.request.tasks / "games" / f"{safe_name(f'chain.{name}' if chains else name)}.json"
        key = self._key(asked, chains)
        # as rank 0 finds it: another process may look after it was written, and would not play with the others
        found = self.team.gather(read_result(kept) if self.team.rank == 0 else None)[0]
        if found is not None and found.get("digest") == key:
            self.tell(f"{name}: done before")
            return found
        plan, services = self.request.plan, self.make_services()
        self.tell(f"{name}: {asked.rounds} rounds on {asked.split}{' as a chain' if chains else ''}")
        examiner = Examiner(plan, self.examinee.seat(services), services, self._load, lambda: self._first(services))
        progress = self._progress()
        examiner.on_progress = lambda what, done, total: progress(Progress(what, done, total, "rounds"))
        result = examiner.measure(plan.stages[-1], asked, self.team)
        progress.end_line()
        if self.team.rank == 0:
            write_result(kept, result, {"digest": key})
        for score in result.scores:
            total = score.total
            rate = "no result" if total.rate is None else f"{total.rate:.3f}"
            self.tell(f"{score.label}: success {rate} [{total.interval[0]:.3f}, {total.interval[1]:.3f}]")
        return json.loads(json_text(document_of(result, {"digest": key})))

    def prompts(self) -> dict[str, dict[str, Any]]:
        """By game, digests of its rules, of its wording and of the chat template, and what that is told."""
        plan = self.request.plan
        system, shared = plan.stages[-1].system_prompt, self._chat()
        return {
            name: {
                "rules_hash": rules_hash(plan.game(name)),
                "template_hash": digest(_PROMPTS, [system, to_json(plan.game(name).prompt)]),
                **shared,
            }
            for name in self.request.played
        }

    def _chat(self) -> dict[str, Any]:
        """What of a protocol is the same for all games; nobody tells the chat template of an endpoint."""
        one = self.examinee
        found = chat_hash(one.asked(self.make_services())) if one.kind == "model" else None
        return {"chat_template_hash": found, "thinking": one.thinking, "compat": self.request.plan.compat}

    def _progress(self) -> LineProgress:
        return LineProgress(self.tell, plain=self.team.rank > 0)

    def _key(self, asked: GamesRequest, chains: Mapping[str, Node]) -> str:
        """Digest of all that a game's result depends on."""
        plan = self.request.plan
        played = (*asked.games, *(leaf.game for node in chains.values() for leaf in leaves(node)))
        names = {*seated_names(plan, played), *asked.opponents.values()}
        seated = [item for item in plan.opponents if item.name in names]
        needs_start = any(item.type == "snapshot" and item.params.get("first") is None for item in seated)
        stage = plan.stages[-1]
        return digest(
            _GAME_TASK,
            {
                "who": [self.examinee.kind, self.examinee.source, self.examinee.identity],
                "games": [to_json(plan.game(name)) for name in dict.fromkeys(played)],
                "chains": {name: to_json(node) for name, node in chains.items()},
                "opponents": [to_json(item) for item in seated],
                "snapshots": self.start().identity if needs_start else None,
                "prompt": [stage.system_prompt, stage.max_context, self._chat()],
                "asked": [
                    asked.split,
                    asked.rounds,
                    asked.temperature,
                    asked.max_tokens,
                    asked.max_replays,
                    asked.seed,
                    asked.history,
                ],
                "seats": dict(asked.opponents),
            },
        )

    def _first(self, services: Services) -> Seat:
        """Who plays for snapshots, as in the final test of a run."""
        start = self.start()
        self.tell(f"snapshots are {start.name}, {start.source}: what the last stage begins with")
        return start.seat(services)

    def _load(self, opponent: OpponentPlan) -> ModelPlayer:
        """A model that is an opponent; loaded once."""
        from gift_dsl.run.stage import local_player

        if opponent.name not in self.local:
            self.local[opponent.name] = local_player(self.request.plan, opponent, find_device())
        return self.local[opponent.name]

    # ── benchmarks ──

    def run_benchmarks(self) -> dict[str, Any]:
        """The result of `evaluate_benchmarks` as plain values."""
        from gift_dsl.evaluate.harness import Share

        plan, services = self.request.plan, self.make_services()
        asked = benchmarks_request(
            plan,
            self.examinee,
            benchmarks=self.request.benchmarks,
            judges=find_judges(plan, self.request.judges, services),
            output=self.request.tasks / "benchmarks",
            share=Share(self.team.rank, self.team.size, self.team.gather),
        )
        progress = self._progress()

        async def ask() -> dict[str, Any]:
            async with services.network:
                found = await evaluate_benchmarks(self.examinee.asked(services), asked, progress)
            return found.to_json()

        return asyncio.run(ask())


def rules_hash(game: GamePlan) -> str:
    """Digest of how a game is played and what its outcomes are worth, whatever it is called and whoever plays it."""
    seats = [game.trainee_seat, game.trainee_role]
    worth = [list(game.reward), game.format_penalty, game.illegal_penalty]
    rules = [game.family, to_json(game.params), game.max_turns, game.illegal_retries]
    return digest(_RULES, [*rules, seats, worth])


def benchmarks_request(plan: Plan, examinee: Examinee, **more: Any) -> BenchmarksRequest:
    """The request of a plan's benchmarks, or of those in `more`, for one examinee."""
    evaluation = plan.evaluation
    fields: dict[str, Any] = {
        "benchmarks": evaluation.benchmarks,
        "seed": evaluation.seed,
        "temperature": evaluation.temperature,
        "max_tokens": evaluation.max_tokens,
        "system": evaluation.system,
        "scorings": ("none", "gift_v1") if plan.compat == "gift_v1" else ("none",),
        "thinking": examinee.thinking,
        "folder": Path(plan.runtime.folder),
        "subject_id": examinee.identity,
    }
    return BenchmarksRequest(**(fields | more))


def find_judges(plan: Plan, names: tuple[str, ...], services: Services) -> dict[str, Any]:
    """The judges that benchmarks name.

    Raises:
        UsageError: one is not an opponent of the plan.
        MachineError: its key is missing.
    """
    by_name = {item.name: item for item in plan.opponents}
    judges: dict[str, Any] = {}
    for name in names:
        if name == STAND_IN:
            judges[name] = StandInJudge()
        elif name in by_name:
            judges[name] = make_player(by_name[name], services)
        else:
            raise UsageError(f"the judge `{name}` is not an opponent of the spec")
    return judges


def games_request(request: EvalRequest, games: tuple[str, ...], chains: Mapping[str, Node]) -> GamesRequest:
    """How games are played: as in the final evaluation of the plan, where it has one."""
    evaluation, final = request.plan.evaluation, request.plan.evaluation.final
    played = {*games, *(leaf.game for node in chains.values() for leaf in leaves(node))}
    sampled = evaluation if final is None else final
    return GamesRequest(
        split=request.split,
        rounds=request.rounds,
        games=games,
        chains=chains,
        temperature=sampled.temperature,
        max_tokens=sampled.max_tokens,
        max_replays=3 if final is None else final.max_replays,
        history=request.history,
        seed=evaluation.seed,
        opponents={game: name for game, name in _final_opponents(request.plan).items() if game in played},
    )


def _final_opponents(plan: Plan) -> dict[str, str]:
    final: FinalPlan | None = plan.evaluation.final
    return {} if final is None else {game: str(name) for game, name in final.opponents.items()}


class LineProgress:
    """How far a task is: a line that is written over on a terminal, else a line each tenth of the way.

    Args:
        tell: says a line.
        plain: nothing is written over, on a terminal neither.
    """

    def __init__(self, tell: Tell, *, plain: bool = False) -> None:
        self._tell, self._is_terminal = tell, sys.stderr.isatty() and not plain
        self._last: tuple[str, str, int] = ("", "", -1)

    def __call__(self, progress: Progress) -> None:
        """Called from several threads; a line more or less does not matter."""
        if progress.step == "finished":
            self.end_line()
            self._tell(f"{progress.benchmark}: done")
            return
        tenth = 10 * progress.done // max(1, progress.total)
        said = f"{progress.benchmark}: {progress.step} {progress.done}/{progress.total}"
        if self._is_terminal:
            sys.stderr.write(f"\r{said}\x1b[K")
            sys.stderr.flush()
        elif (progress.benchmark, progress.step, tenth) != self._last:
            self._tell(said)
        self._last = (progress.benchmark, progress.step, tenth)

    def end_line(self) -> None:
        """What is said next begins a line."""
        if self._is_terminal and self._last[0]:
            sys.stderr.write("\r\x1b[K")
            self._last = ("", "", -1)


# ── the document ──


def _document(request: EvalRequest, examinee: Examinee, games: list[dict[str, Any]]) -> dict[str, Any]:
    plan = request.plan
    return {
        "schema": EVAL_SCHEMA,
        "gift": __version__,
        "target": request.target,
        "name": plan.runtime.name,
        "seed": plan.seed,
        "spec_hash": plan.spec_hash,
        "plan_hash": plan_hash(plan),
        "checkpoint": request.who.checkpoint,
        "subject": {
            "name": examinee.name,
            "kind": examinee.kind,
            "source": examinee.source,
            "identity": examinee.identity,
        },
        "split": request.split,
        "protocol": games[0]["protocol"] if games else None,
        "games": {name: score for one in games for name, score in one["games"].items()},
        "chains": {name: parts for one in games for name, parts in one["chains"].items()},
        "plays": [play for one in games for play in one["plays"]],
    }


_BY_TASK: Final = (
    "results", "n-samples", "n-shot", "versions", "configs", "higher_is_better", "counts", "intervals", "protocols",
    "more",
)  # fmt: skip


def lm_eval_shape(
    document: Mapping[str, Any], benchmarks: Mapping[str, Any] | None, prompts: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Games and benchmarks by task, in the shape of lm-eval's results and with counts and intervals beside.

    A game is the task `game/NAME`, a part of a chain `chain/CHAIN/LABEL`. `prompts` says by game what they
    are made of.
    """
    shaped: dict[str, Any] = {name: dict((benchmarks or {}).get(name, {})) for name in _BY_TASK}
    shaped["groups"] = (benchmarks or {}).get("groups", {})
    for task, score in _tasks(document):
        counts = {**score["counts"], "unplayed": score["unplayed"], "truncated": score["truncated"]}
        shaped["results"][task] = {
            "alias": task,
            "success,none": score["rate"],
            "success_stderr,none": "N/A",
            "score,none": score["score"],
            "score_stderr,none": "N/A",
        }
        shaped["n-samples"][task] = {"original": sum(score["counts"].values()), "effective": score["rounds"]}
        shaped["n-shot"][task] = 0
        shaped["versions"][task] = 1
        shaped["higher_is_better"][task] = {"success": True, "score": True}
        shaped["counts"][task] = {"none": counts}
        shaped["intervals"][task] = {"success,none": score["interval"], "score,none": score["score_interval"]}
        shaped["protocols"][task] = {
            "kind": "game" if score["chain"] is None else f"part of the chain {score['chain']}",
            **{key: score[key] for key in ("split", "held_out", "opponents", "chance")},
            **{key: value for key, value in document["protocol"].items() if key != "split"},
            **prompts[score["game"]],
        }
    return shaped


def _tasks(document: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, score in document["games"].items():
        yield f"game/{name}", score
    for chain, parts in document["chains"].items():
        for label, score in parts.items():
            yield f"chain/{chain}/{label}", score


def read_eval(path: Path) -> dict[str, Any]:
    """A result that was written.

    Raises:
        MachineError: there is none, or it is none of this version.
    """
    found = read_result(path)
    if found is None:
        raise MachineError(f"there is no evaluation at {path}")
    if found.get("schema") != EVAL_SCHEMA:
        raise MachineError(
            f"{path} is no evaluation of this version: its schema is {found.get('schema')!r}, not {EVAL_SCHEMA}"
        )
    return found


def extend_manifest(run: RunDirectory, output: Path) -> None:
    """Add an evaluation's files to the manifest of a finished run; the lines of all others stay as they are."""
    if not run.manifest.is_file():
        return
    place = output.with_suffix("").relative_to(run.path).as_posix()
    text = run.manifest.read_bytes().decode("utf-8", "surrogateescape")
    kept = [line for line in text.splitlines(keepends=True) if not line[66:].startswith((f"{place}.", f"{place}/"))]
    names = [name for name in covered_files(run.path, run.manifest.name) if name.startswith((f"{place}.", f"{place}/"))]
    added = [f"{sha256_of(run.path / name)}  {name}\n" for name in names]
    write_whole(run.manifest, "".join([*kept, *added]).encode("utf-8", "surrogateescape"))


def output_of(folder: Path, request: EvalRequest) -> Path:
    """Where the result of a request goes: the same file for the same request."""
    who = request.who.label
    asked = {
        "who": who,
        "games": list(request.games),
        "chains": list(request.chains),
        "benchmarks": [dict(one) for one in request.benchmarks],
        "rounds": request.rounds,
        **({} if request.history == "full" else {"history": request.history}),
    }
    return folder / f"eval-{safe_name(who)}-{request.split}-{digest(EVAL_SCHEMA, asked)[:8]}.json"
