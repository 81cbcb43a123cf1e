"""The verbs behind the commands, and the Python API. Heavy imports live inside the functions."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from gift_dsl.errors import Diagnostic, GiftError, LimitReached, MachineError, Span, SpecError, UsageError
from gift_dsl.plan import frozen

if TYPE_CHECKING:
    from gift_dsl.artifacts.directory import RunDirectory
    from gift_dsl.compiler.compile import Compiled
    from gift_dsl.compiler.context import Context
    from gift_dsl.plan import GamePlan, OpponentPlan, Plan, StagePlan
    from gift_dsl.players.make import Services
    from gift_dsl.records import Group, PartRecord
    from gift_dsl.report.tables import Table
    from gift_dsl.run import Match
    from gift_dsl.run.evaluate import EvalRequest
    from gift_dsl.run.request import RunOutcome, RunRequest
    from gift_dsl.spec.load import Loaded, LoadedRun
    from gift_dsl.spec.node import Node


@frozen
class CheckedRun:
    """One run of a spec that was checked; `compiled` is None where there are errors.

    `written` is what its files say, put together; `context` and `compiled` have game files inlined.
    """

    id: str
    choices: dict[str, str]
    written: Node
    context: Context | None
    compiled: Compiled | None


@frozen
class Checked:
    """A spec with everything that was found about it, in order of place."""

    path: str
    runs: tuple[CheckedRun, ...]
    sources: dict[str, str]
    diagnostics: tuple[Diagnostic, ...]
    fragment: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return all(item.severity != "error" for item in self.diagnostics)

    def plans(self) -> tuple[Plan, ...]:
        """The plan of each run.

        Raises:
            SpecError: the spec has errors.
        """
        if not self.ok:
            raise SpecError(self.diagnostics)
        return tuple(run.compiled.plan for run in self.runs if run.compiled is not None)


def check_spec(
    path: str, text: str | bytes | None = None, *, sets: Sequence[str] = (), only: Sequence[str] = (), plan: bool = True
) -> Checked:
    """Check a spec file and compile each of its runs.

    Args:
        path: the file, or `-` with `text`.
        text: read instead of the file.
        sets: `path=value` overrides, as `--set`.
        only: `axis=value` selections of a sweep, as `--only`.
        plan: False leaves the plans out where nothing is asked but whether the spec is right.

    Returns:
        Every finding at once, and the compiled runs where there is no error.
    """
    from gift_dsl.spec.consequences import most_important, of_all_runs, without_consequences
    from gift_dsl.spec.load import load
    from gift_dsl.spec.render import deduplicate

    loaded = load(path, text, sets=sets, only=only)
    found = list(loaded.diagnostics)
    per_run: list[list[Diagnostic]] = [[] for _ in loaded.runs]
    contexts = [_check_run(loaded, run, own) for run, own in zip(loaded.runs, per_run, strict=True)]
    found += of_all_runs(per_run, [run.tree for run in loaded.runs])
    wrong = any(item.severity == "error" for item in found)
    compiled: list[Compiled | None] = [None] * len(contexts)
    if not wrong and not loaded.fragment and (plan or len(contexts) > 1):
        from gift_dsl.compiler.compile import compile_plan

        compiled = [compile_plan(context) if context is not None else None for context in contexts]
        found += _arms(loaded, compiled)
    runs = [
        CheckedRun(run.id, run.choices, run.written, context, made)
        for run, context, made in zip(loaded.runs, contexts, compiled, strict=True)
    ]
    return Checked(
        path,
        tuple(runs),
        loaded.sources,
        tuple(most_important(deduplicate(without_consequences(found)))),
        loaded.fragment,
    )


def _check_run(loaded: Loaded, run: LoadedRun, found: list[Diagnostic]) -> Context | None:
    """References of every run, then the passes of a run whose shape is right."""
    from gift_dsl.compiler.checks import check_meaning
    from gift_dsl.compiler.context import make_context
    from gift_dsl.compiler.references import unknown_names

    if loaded.fragment:
        return None
    unknown = list(unknown_names(run.tree))
    found += unknown
    if run.spec is None or unknown:
        return None
    context = make_context(run.spec, run.tree, loaded.folder, run.id)
    found += check_meaning(context)
    return context


def _arms(loaded: Loaded, compiled: Sequence[Compiled | None]) -> list[Diagnostic]:
    from gift_dsl.compiler.arms import check, make_arm

    arms = [
        make_arm(run.id, run.choices, made.estimates)
        for run, made in zip(loaded.runs, compiled, strict=True)
        if made is not None
    ]
    return list(check(arms, loaded.sweep or Span(loaded.path, 1, 1, 1, 1)))


def compile_spec(
    path: str, text: str | bytes | None = None, *, sets: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[Plan, ...]:
    """The plan of each run of a spec.

    Raises:
        SpecError: the spec has errors; it carries all of them.
    """
    return check_spec(path, text, sets=sets, only=only).plans()


def plan_document(checked: Checked, *, difference: float = 0.05, spread: float = 0.03) -> dict[str, Any]:
    """The document of `gift plan --json`: the first run's numbers and plan at the top, every run below `runs`.

    Args:
        checked: a spec without errors.
        difference: of two success rates, in (0, 0.5], that `sample_sizes` counts rounds and seeds for.
        spread: standard deviation between seeds that it assumes.
    """
    from gift_dsl.plan import to_json
    from gift_dsl.report.sample_sizes import sample_sizes
    from gift_dsl.spec.render import to_json as findings

    runs = [
        {"id": run.id, "choices": run.choices, **run.compiled.to_json(), "plan": to_json(run.compiled.plan)}
        for run in checked.runs
        if run.compiled is not None
    ]
    warnings = findings(checked.diagnostics)
    first = {key: value for key, value in runs[0].items() if key not in ("id", "choices")} if runs else {}
    name = checked.runs[0].context.spec.name if checked.runs and checked.runs[0].context is not None else None
    return {
        "schema": "gift-plan/1",
        "name": name,
        **first,
        "sample_sizes": sample_sizes(checked.runs, difference, spread) if runs else None,
        "runs": runs if len(runs) > 1 else [],
        "warnings": warnings,
    }


def plan_against(checked: Checked, against: str) -> dict[str, Any]:
    """What differs between a spec's plan and an earlier one.

    Args:
        checked: a spec of one run.
        against: a plan.json, what `gift plan --json` printed, a run directory, or another spec file.

    Raises:
        UsageError: the spec has several runs, or `against` is none of these.
        SpecError: `against` is a spec with errors.
    """
    from gift_dsl.artifacts.changes import compare_plans
    from gift_dsl.plan import to_json

    plans = checked.plans()
    if len(plans) != 1:
        raise UsageError(f"{checked.path} has {len(plans)} runs; choose one with --only")
    old, name = _earlier_plan(against, checked.runs[0].id)
    changes = compare_plans(old, to_json(plans[0]))
    return {"schema": "gift-plan-diff/1", "against": name, "changes": [change.to_json() for change in changes]}


def _earlier_plan(against: str, run_id: str) -> tuple[dict[str, Any], str]:
    """Plain data of the plan that a path stands for, and the file it came from."""
    import json

    from gift_dsl.artifacts.decode import DecodeError
    from gift_dsl.artifacts.plan_file import from_json
    from gift_dsl.plan import to_json

    path = Path(against)
    path = path / "plan.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{against} is neither a plan.json, a run directory nor a spec")
    if path.suffix in (".yaml", ".yml"):
        plans = compile_spec(str(path))
        if len(plans) != 1:
            raise UsageError(f"{against} has {len(plans)} runs; compare with the plan.json of one of them")
        return to_json(plans[0]), str(path)
    try:
        plan = _plan_within(json.loads(path.read_text(encoding="utf-8")), run_id)
        return to_json(from_json(plan)), str(path)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    except DecodeError as error:
        raise UsageError(f"{path} is not a plan that this version of gift understands: {error}") from error


def _plan_within(document: Any, run_id: str) -> dict[str, Any]:
    """The plan in a plan.json, or in what `gift plan --json` printed: there the run of the same id, or the only one."""
    if not isinstance(document, dict):
        raise UsageError("this is not a plan: a plan is a JSON object")
    found = cast("dict[str, Any]", document)
    runs: dict[str, dict[str, Any]] = {run["id"]: run for run in found.get("runs") or ()}
    if runs and run_id not in runs:
        raise UsageError(f"the earlier plan has the runs {', '.join(runs)}; choose the same one with --only")
    return runs.get(run_id, found).get("plan", found)


def show_document(checked: Checked, *, resolved: bool = False, origin: bool = False) -> dict[str, Any]:
    """A spec as it is understood: the document of `gift show --json`.

    Args:
        checked: a spec of one run.
        resolved: with presets, defaults, game files and own templates filled in; it is a spec of the same hash.
        origin: say where each value was written, by its path.

    Raises:
        SpecError: the spec has errors.
        UsageError: the spec has several runs, or is a fragment and should be resolved.
    """
    from gift_dsl.compiler.meaning import spec_hash
    from gift_dsl.spec.resolve import origins, resolved_data

    run = _only_run(checked)
    document: dict[str, Any] = {"schema": "gift-show/1", "path": checked.path, "run": run.id, "resolved": resolved}
    tree = run.written
    if resolved:
        if run.context is None:
            raise UsageError(f"{checked.path} is a fragment; resolve a spec that extends it")
        tree = run.context.tree
        document["spec_hash"] = spec_hash(run.context)
        document["spec"] = resolved_data(run.context.spec)
    else:
        document["spec"] = tree.plain()
    if origin:
        document["origins"] = origins(document["spec"], tree)
    return document


def _only_run(checked: Checked) -> CheckedRun:
    if not checked.ok:
        raise SpecError(checked.diagnostics)
    if len(checked.runs) != 1:
        listed = "".join(f"\n  --only {shlex.quote(run.id)}" for run in checked.runs)
        raise UsageError(f"{checked.path} has {len(checked.runs)} runs; choose one:{listed}")
    return checked.runs[0]


def show_text(checked: Checked, *, resolved: bool = False, origin: bool = False) -> str:
    """A spec as it is understood, as YAML that means the same; places are comments. Raises as `show_document`."""
    from gift_dsl.spec.resolve import show_yaml

    return show_yaml(show_document(checked, resolved=resolved, origin=origin))


def explain(query: str) -> dict[str, Any]:
    """What a word or path of the language means: the document of `gift explain --json`.

    Raises:
        UsageError: nothing has this name.
    """
    from gift_dsl.spec.explain import explain as find

    return find(query)


def explain_text(document: dict[str, Any]) -> str:
    """The document of `explain` as text for a terminal."""
    from gift_dsl.spec.explain import explain_text as render

    return render(document)


def list_things(what: str) -> list[dict[str, Any]]:
    """What a spec can name: `games`, `opponents`, `benchmarks`, `presets` or `starters`, each with a description.

    Raises:
        UsageError: there is no such list.
    """
    from gift_dsl.spec.catalogue import list_things as find

    return find(what)


def list_text(rows: Sequence[dict[str, Any]]) -> str:
    """Rows of `list_things` as text for a terminal."""
    from gift_dsl.spec.catalogue import list_text as render

    return render(rows)


def init_project(folder: Path, start: str = "quickstart") -> list[Path]:
    """Write a spec to start from, its schema for editors, and `.gitignore`; the spec comes first in what is returned.

    Raises:
        UsageError: there is no such starter, or a file would be overwritten; nothing is written then.
        MachineError: the folder cannot be written.
    """
    from gift_dsl.spec.starters import init_project as make

    return make(folder, start)


_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
OUTCOMES = ("success", "draw", "loss", "bad_format", "illegal_action", "void")


class PlayInterrupted(KeyboardInterrupt):
    """Somebody pressed Ctrl-C while `play` played. `document` holds the rounds that were over by then."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        super().__init__(f"interrupted after {document['played']} of {document['rounds']} rounds")


class PlayFailed(GiftError):  # noqa: N818 - what happened, as for TooManyVoids
    """More plays of a game than its `max_void_share` allows have no result. `document` holds all that was played."""

    def __init__(self, message: str, document: dict[str, Any]) -> None:
        self.document = document
        super().__init__(message)


@frozen
class PlayOptions:
    """How `play` plays.

    Attributes:
        as_: who takes the trained seat: an opponent of the spec, or a type that needs no field (`human`, `random`).
        against: who takes every other seat; None: as the spec says, or `random` where only a game is named.
        rounds: number of episodes.
        seed: of everything that is drawn.
        ask: how a person is asked; called with the question, returns what was typed.
        on_round: called with the outcomes of each episode's parts, as text.
    """

    as_: str = "random"
    against: str | None = None
    rounds: int = 100
    seed: int = 1
    ask: Callable[[str], str] = input
    on_round: Callable[[str], None] | None = None


def play(target: str, text: str | bytes | None = None, options: PlayOptions | None = None) -> dict[str, Any]:
    """Play a game, or the composition of a spec's last stage, outside any run.

    Args:
        target: a spec file (`-` with `text`), a shipped game or a family that needs no parameters.
        text: read instead of the file.
        options: who plays whom, how often.

    Returns:
        A `gift-play/1` document: outcomes of the player named first, by game.

    Raises:
        SpecError: the spec has errors.
        UsageError: a name is not known, or a player cannot play this game.
        MachineError: a key, dataset or package is missing, or nobody listens at an endpoint.
        PlayFailed: too many plays have no result, because players gave no answer, or a limit of the spec is reached.
        PlayInterrupted: Ctrl-C. Whoever was asked is no longer waited for.
    """
    from gift_dsl.plan import leaves
    from gift_dsl.run import Match, play_match

    options = options or PlayOptions()
    plan, context = _match_plan(target, text, options)
    stage = plan.stages[-1]
    player = _match_player(context, options.as_, {leaf.game for leaf in leaves(stage.play)})
    match = Match(plan, stage, player, options.rounds, options.seed)
    services = _match_services(plan, options)
    _check_endpoints(match, services.base_urls)
    over: list[Group] = []

    def tell(groups: Sequence[Group]) -> None:
        over.extend(groups)
        for trajectory in (one for group in groups for one in group.trajectories):
            if options.on_round is not None:
                options.on_round(", ".join(f"{part.label}: {part.outcome}" for part in trajectory.parts))

    try:
        groups = play_match(match, services, tell)
    except KeyboardInterrupt:
        raise PlayInterrupted(_play_document(target, options, over, interrupted=True)) from None
    except LimitReached as limit:
        raise PlayFailed(str(limit), _play_document(target, options, over, interrupted=True)) from limit
    document = _play_document(target, options, groups)
    _refuse_voids(stage, document)
    return document


def _match_services(plan: Plan, options: PlayOptions) -> Services:
    """What the players of one play share: connections, the spec's limits of calls and dollars, a person to ask."""
    from gift_dsl.players.make import Services, host_limits
    from gift_dsl.players.network import Network
    from gift_dsl.players.usage import Budget

    runtime = plan.runtime
    most = host_limits((url, runtime.concurrency[name]) for name, url in runtime.base_urls.items())
    return Services(
        Network(most),
        Budget(
            opponent_usd=runtime.limits.get("opponent_usd"),
            opponent_calls=runtime.limits.get("opponent_calls"),
        ),
        base_urls=runtime.base_urls,
        find_key=_find_key,
        ask=options.ask,
    )


def _check_endpoints(match: Match, base_urls: Mapping[str, str]) -> None:
    """See that each server that plays answers and takes its key: one that does not would be asked for a minute."""
    import asyncio

    from gift_dsl.plan import leaves
    from gift_dsl.players.look import check_servers
    from gift_dsl.players.make import server_of
    from gift_dsl.run import seated_names

    names = seated_names(match.plan, dict.fromkeys(leaf.game for leaf in leaves(match.stage.play)))
    playing = [match.player, *(opponent for opponent in match.plan.opponents if opponent.name in names)]
    if asked := [server_of(one, base_urls) for one in playing if one.type == "openai"]:
        asyncio.run(check_servers(asked, _find_key))


def _match_plan(target: str, text: str | bytes | None, options: PlayOptions) -> tuple[Plan, Context]:
    """The plan to play: of a spec, or of a spec made round the name of a game."""
    from gift_dsl.spec.inline import game_types

    is_spec = text is not None or target.endswith((".yaml", ".yml")) or "/" in target
    if not is_spec and target not in game_types():
        raise UsageError(f"`{target}` is neither a spec file nor a game; games are: {', '.join(game_types())}")
    checked = check_spec(target, text) if is_spec else _spec_of_game(target, options.against or "random")
    if is_spec and options.against is not None and checked.ok:
        checked = check_spec(target, text, sets=_reseated(checked, options.against))
    plans = checked.plans()
    if len(plans) != 1:
        raise UsageError(f"{target} has {len(plans)} runs; play one with a spec of its own")
    (run,) = checked.runs
    assert run.context is not None
    return plans[0], run.context


def _spec_of_game(game: str, against: str) -> Checked:
    """A spec that plays one game with its default parameters."""
    # The model is never loaded; one of unknown size sets no limit to the length of a game.
    lines = ["gift: 1", "name: play", "model: {source: ./nobody}", "games:"]
    stages = ["stages:", f"  - {{name: play, type: grpo, play: {game}, until: {{steps: 1}}}}"]
    checked = check_spec("-", "\n".join([*lines, f"  {game}: {{type: {game}}}", *stages, ""]))
    if {item.code for item in checked.diagnostics if item.severity == "error"} == {"missing-opponents"}:
        checked = check_spec("-", "\n".join([*lines, f"  {game}: {{type: {game}, opponents: {against}}}", *stages, ""]))
    wrong = next((item.message for item in checked.diagnostics if item.severity == "error"), None)
    if wrong is not None:
        raise UsageError(f"`{game}` cannot be played by its name alone: {wrong}; name it in a spec and play that")
    return checked


def _reseated(checked: Checked, against: str) -> list[str]:
    """Overrides that put one player into every other seat of the games that the last stage plays."""
    from gift_dsl.plan import leaves

    plan, *_ = checked.plans()
    names = dict.fromkeys(leaf.game for leaf in leaves(plan.stages[-1].play))
    return [f"games.{name}.opponents={against}" for name in names if plan.game(name).opponents]


def _match_player(context: Context, name: str, games: Collection[str]) -> OpponentPlan:
    """Who takes the trained seat, if the games allow it."""
    from gift_dsl.plan import OpponentPlan
    from gift_dsl.spec.models.fields import plain
    from gift_dsl.spec.models.opponents import PREDEFINED
    from gift_dsl.spec.suggest import did_you_mean

    found = context.opponent(name)
    if found is None:
        known = [*context.spec.opponents, *PREDEFINED]
        raise UsageError(f"`{name}` cannot play; {did_you_mean(name, known) or 'players are: ' + ', '.join(known)}")
    for game in sorted(games):
        able = context.games[game].facts.players
        if found.type not in (*able, "openai"):
            raise UsageError(f"`{name}` cannot play {game}; these can: {', '.join(able)}")
    return OpponentPlan(name, found.type, {key: value for key, value in plain(found).items() if key != "type"})


def _find_key(env_name: str | None, base_url: str) -> str | None:
    """The key for an endpoint, after the user's bindings; asks on a terminal for a pair that is not bound yet."""
    from gift_dsl.players.keys import resolve_key
    from gift_dsl.settings import load_key_bindings

    return resolve_key(env_name, base_url, load_key_bindings())


def _refuse_voids(stage: StagePlan, document: dict[str, Any]) -> None:
    """Raises PlayFailed, with the endpoints and their failures, where a game has too many plays without a result."""
    from gift_dsl.plan import leaves

    found: list[str] = []
    shares = {leaf.label: leaf.rollout.max_void_share for leaf in leaves(stage.play)}
    for label, game in document["games"].items():
        plays = sum(game["outcomes"].values()) - game["outcomes"]["unplayed"]
        void, share = game["outcomes"]["void"], shares[label]
        if void > share * plays + 1e-9:
            reasons = "; ".join(f"{reason} ({count} times)" for reason, count in game["failures"].items())
            found.append(
                f"{void} of the {plays} plays of {label} have no result, more than the {share:.0%} that "
                f"`max_void_share` allows: {reasons}"
            )
    if found:
        raise PlayFailed("\n".join(found), document)


def _play_document(
    target: str, options: PlayOptions, groups: Sequence[Group], *, interrupted: bool = False
) -> dict[str, Any]:
    parts = [part for group in groups for trajectory in group.trajectories for part in trajectory.parts]
    labels = dict.fromkeys(part.label for part in parts)
    games = {label: _play_counts([part for part in parts if part.label == label]) for label in labels}
    return {
        "schema": "gift-play/1",
        "target": target,
        "as": options.as_,
        "against": options.against,
        "rounds": options.rounds,
        "played": sum(len(group.trajectories) for group in groups),
        "interrupted": interrupted,
        "seed": options.seed,
        "outcomes": {name: sum(game["outcomes"][name] for game in games.values()) for name in OUTCOMES},
        "games": games,
    }


def _play_counts(parts: Sequence[PartRecord]) -> dict[str, Any]:
    """How the plays of one game went; `failures` are the reasons of void ones, the commonest first."""
    rewards = [part.reward for part in parts if part.reward is not None]
    chances = [part.chance for part in parts if part.chance is not None]
    return {
        "outcomes": {name: sum(part.outcome == name for part in parts) for name in (*OUTCOMES, "unplayed")},
        "mean_reward": round(sum(rewards) / len(rewards), 6) if rewards else None,
        "chance": round(sum(chances) / len(chances), 6) if chances else None,
        "opponent_illegal": sum(part.opponent_illegal for part in parts),
        "failures": dict(Counter(str(part.reason) for part in parts if part.outcome == "void").most_common()),
    }


@frozen
class RunOptions:
    """How `run` runs.

    Attributes:
        sets, only: as `--set` and `--only`.
        mode: `new`, `resume` (go on with the newest unfinished run; of a sweep, with each run that is not done) or
            `fresh` (a new one whatever is there).
        again: the command that would resume it, as it is shown.
        anew: the command that would begin it anew, as it is shown; for a run of a sweep its id is added.
        tell: is told what happens, line by line.
    """

    sets: Sequence[str] = ()
    only: Sequence[str] = ()
    mode: str = "new"
    again: str = "gift run SPEC --resume"
    anew: str = "gift run SPEC --fresh"
    tell: Callable[[str], None] = print


def run(path: str, text: str | bytes | None = None, options: RunOptions | None = None) -> list[RunOutcome]:
    """Perform each run of a spec, in order; the ones after a run that ended early, or could not begin, are performed.

    Ctrl-C and its like end the run that goes on, and no further one is begun.

    Of a sweep that is resumed, a run that is done counts as it ended, and one that has not begun begins.

    Returns:
        How each of them ended.

    Raises:
        SpecError: the spec has errors.
        UsageError, MachineError: as `run.drive.run_plan`, of a single run; of a sweep, where one of its runs waits
            and is not to be resumed, or where all are done and are to be.
    """
    options = options or RunOptions()
    return run_checked(check_spec(path, text, sets=options.sets, only=options.only), options)


def run_checked(checked: Checked, options: RunOptions) -> list[RunOutcome]:
    """As `run`, for a spec that was checked already; its overrides are in it, those of `options` are not looked at."""
    from gift_dsl.run.drive import run_plan

    if checked.fragment:
        raise UsageError(f"{checked.path} is a fragment (`fragment: true`); run a spec that extends it")
    checked.plans()
    requests = {arm.id: _run_request(checked, arm, options) for arm in checked.runs}
    if len(requests) > 1:
        return _run_sweep(checked.path, requests, options)
    return [run_plan(request, options.tell) for request in requests.values()]


def _run_sweep(path: str, requests: Mapping[str, RunRequest], options: RunOptions) -> list[RunOutcome]:
    """Each run of a sweep, by its id, until a signal comes."""
    from gift_dsl.run.choose import find_run

    if options.mode == "new":
        for request in requests.values():  # one that waits is told of before another is trained
            find_run(request)
    outcomes: dict[str, RunOutcome] = {}
    for name, request in requests.items():
        options.tell(f"== {name} ==")
        outcomes[name] = _run_one_of_several(request, options.tell)
        if outcomes[name].exit_code in (130, 143):
            break
    if all(outcome.was_done for outcome in outcomes.values()):
        raise UsageError(f"there is nothing to resume: all {len(outcomes)} runs of {path} are done")
    for name, outcome in outcomes.items():
        if outcome.exit_code:
            options.tell(f"not done: {name} (exit code {outcome.exit_code})")
    return [*outcomes.values()]


def _run_one_of_several(request: RunRequest, tell: Callable[[str], None]) -> RunOutcome:
    """A run; what keeps it from its end is told, and does not keep the others."""
    from gift_dsl.run.drive import run_plan
    from gift_dsl.run.request import RunOutcome

    try:
        return run_plan(request, tell)
    except GiftError as error:
        tell(f"gift: {error}")
        return RunOutcome(None, error.exit_code, None, problem=str(error))


def _run_request(checked: Checked, arm: CheckedRun, options: RunOptions) -> RunRequest:
    from gift_dsl.run.request import RunRequest

    assert arm.compiled is not None
    is_resumed_sweep = options.mode == "resume" and len(checked.runs) > 1
    return RunRequest(
        plan=arm.compiled.plan,
        written=checked.sources,
        resolved=_resolved_document(checked, arm),
        mode="finish" if is_resumed_sweep else options.mode,
        disk_gib=arm.compiled.needs.disk_gib,
        find_key=_find_key,
        again=options.again,
        anew=f"{options.anew} --only {shlex.quote(arm.id)}" if arm.id else options.anew,
    )


def _resolved_document(checked: Checked, arm: CheckedRun) -> dict[str, Any]:
    from gift_dsl.spec.resolve import resolved_data

    assert arm.context is not None
    return {"schema": "gift-show/1", "path": checked.path, "run": arm.id, "spec": resolved_data(arm.context.spec)}


@frozen
class EvalOptions:
    """What `evaluate` evaluates, and where it writes.

    Attributes:
        benchmarks, games: by name; with both empty, those of the plan.
        rounds: of each game; None: as the plan's final evaluation or probe.
        limit: most items of each benchmark.
        split: of the games' instances; `test` is read only where it is asked for here.
        history: what prompts of games hold of earlier turns, `full` or `none`; None: as the plan's evaluation.
        sets, only: as `--set` and `--only`; for a spec, or for the spec that is made round a model.
        subject: an opponent that is evaluated instead of the model.
        checkpoint: of a run: `final`, `best`, `start` or a step.
        judge: of CommonGen; `stand-in` is offline.
        data: folder of the benchmarks' rows.
        processes: that share the work, each with a device of its own; None: those of a launcher, else this one alone.
        out: where the result goes; None: `eval/` of the run, else below the spec's output folder.
        tell: is told what happens, line by line.
    """

    benchmarks: Sequence[str] = ()
    games: Sequence[str] = ()
    rounds: int | None = None
    limit: int | None = None
    split: Literal["dev", "test"] = "dev"
    history: Literal["full", "none"] | None = None
    sets: Sequence[str] = ()
    only: Sequence[str] = ()
    subject: str | None = None
    checkpoint: str | None = None
    judge: str | None = None
    data: Path | None = None
    processes: int | None = None
    out: Path | None = None
    tell: Callable[[str], None] = print


def evaluate(target: str, text: str | bytes | None = None, options: EvalOptions | None = None) -> dict[str, Any]:
    """Evaluate a model on games and benchmarks.

    Args:
        target: a spec file (`-` with `text`), a run directory, a model folder or a hub id.
        text: read instead of the file.
        options: on what, and how.

    Returns:
        A `gift-eval/1` document, which is also written.

    Raises:
        SpecError: the spec has errors.
        UsageError: a name is not known, or a log-likelihood task is asked of a chat API.
        MachineError: a model, dataset, key or endpoint is missing, or the run is of another version.
    """
    from contextlib import nullcontext
    from dataclasses import replace

    from gift_dsl.artifacts.directory import open_run
    from gift_dsl.run.evaluate import evaluate_target, extend_manifest, output_of
    from gift_dsl.run.ranks import evaluate_apart, given_team, services_maker

    options = options or EvalOptions()
    path = Path(target)
    run = open_run(path) if text is None and _is_run(path) else None
    if run is not None and (options.sets or options.only):
        raise UsageError("a run has its plan: --set and --only go with a spec or a model")
    if run is None and options.checkpoint is not None:
        raise UsageError("--checkpoint goes with a run directory")
    plan = run.plan if run is not None else _eval_plan(target, text, options)
    request = _eval_request(target, plan, run, options)
    if options.out is None:
        folder = run.evaluation if run is not None else _runs_of(plan) / "eval"
        request = replace(request, output=output_of(folder, request))
    with given_team(options.processes) as team:
        is_main = team.rank == 0
        with run.hold() if run is not None and is_main else nullcontext():
            if team.size == 1 and options.processes not in (None, 1):
                document = evaluate_apart(request, options.processes, _find_key)
            else:
                document = evaluate_target(request, services_maker(plan, _find_key, team), options.tell, team)
            if run is not None and is_main and request.output.resolve().is_relative_to(run.path.resolve()):
                extend_manifest(run, request.output)
    return document


def _is_run(path: Path) -> bool:
    """Whether a path is meant as a run directory, whole or not."""
    return path.is_dir() and any((path / name).is_file() for name in ("status.json", "plan.json"))


def _runs_of(plan: Plan) -> Path:
    from gift_dsl.artifacts.directory import run_parent
    from gift_dsl.run.choose import output_folder

    return run_parent(output_folder(plan), plan.runtime.name, plan.runtime.run_id)


def _eval_plan(target: str, text: str | bytes | None, options: EvalOptions) -> Plan:
    """The plan of a spec, or of a spec that is made round a model."""
    from gift_dsl.run.preflight import fill_prints

    if text is not None or target.endswith((".yaml", ".yml")):
        checked = check_spec(target, text, sets=options.sets, only=options.only)
        if checked.fragment:
            raise UsageError(f"{target} is a fragment (`fragment: true`); evaluate a spec that extends it")
    else:
        checked = _spec_of_model(target, options)
    plans = checked.plans()
    if len(plans) != 1:
        raise UsageError(f"{target} has {len(plans)} runs; choose one with --only")
    return fill_prints(plans[0])


def _spec_of_model(target: str, options: EvalOptions) -> Checked:
    """A spec whose model is a folder or a hub id, and that plays the games asked for with their default parameters."""
    from gift_dsl.spec.inline import game_types

    path = Path(target).expanduser()
    if not path.is_dir() and not _HUB_ID.fullmatch(target):
        raise UsageError(f"{target} is neither a spec file, a run directory, a model folder nor a hub id")
    if path.is_dir() and not (path / "config.json").is_file():
        raise MachineError(f"{path} is neither a run nor a model in Hugging Face's format: there is no config.json")
    if not options.games and not options.benchmarks:
        raise UsageError(f"name what {target} is evaluated on, with --games or --benchmarks")
    if unknown := [name for name in options.games if name not in game_types()]:
        raise UsageError(f"there is no game `{unknown[0]}`; games are: {', '.join(game_types())}")
    source = str(path.resolve()) if path.is_dir() else target
    # Without a game a spec is none: one that is not played stands in.
    games = dict.fromkeys(options.games or ("arithmetic",), "")
    checked = _model_spec(source, games, options)
    lacking = [item.path for item in checked.diagnostics if item.code == "missing-opponents"]
    if lacking:
        games = {name: ", opponents: random" if f"games.{name}" in lacking else "" for name in games}
        checked = _model_spec(source, games, options)
    return checked


def _model_spec(source: str, games: Mapping[str, str], options: EvalOptions) -> Checked:
    import json

    name = re.sub(r"[^a-z0-9]+", "-", source.rstrip("/").rpartition("/")[2].lower()).strip("-") or "model"
    lines = ["gift: 1", f"name: {name}", f"model: {{source: {json.dumps(source)}}}", "games:"]
    lines += [f"  {game}: {{type: {game}{more}}}" for game, more in games.items()]
    play = f"{{any_of: [{', '.join(games)}]}}"
    lines += ["stages:", f"  - {{name: play, type: grpo, play: {play}, until: {{steps: 1}}}}", ""]
    return check_spec("-", "\n".join(lines), sets=options.sets, only=options.only)


def _eval_request(target: str, plan: Plan, run: RunDirectory | None, options: EvalOptions) -> EvalRequest:
    from gift_dsl.run import asked
    from gift_dsl.run.evaluate import EvalRequest
    from gift_dsl.run.subjects import Who

    games, chains = asked.named_games(plan, options.games)
    benchmarks = asked.named_benchmarks(plan, options.benchmarks, options.judge)
    if not options.games and not options.benchmarks:
        games, chains = asked.planned_games(plan)
        benchmarks = tuple(asked.with_judge(one, options.judge) for one in plan.evaluation.benchmarks)
    history = options.history or plan.evaluation.history
    if history == "none" and chains and options.games:
        raise UsageError(f"prompts without history make no chain: name the games of `{next(iter(chains))}` instead")
    place = None if run is None else str(run.path.resolve())
    checkpoint = None if run is None or options.subject is not None else _checkpoint(options.checkpoint or "final")
    return EvalRequest(
        target=target,
        plan=plan,
        who=Who(run=place, checkpoint=checkpoint, opponent=options.subject),
        games=games,
        chains=chains if history == "full" else {},
        benchmarks=asked.limited(benchmarks, options.limit, options.data),
        split=options.split,
        rounds=options.rounds or asked.planned_rounds(plan),
        output=options.out or Path(),
        history=history,
    )


def _checkpoint(word: str) -> int | Literal["start", "best", "final"]:
    if word in ("start", "best", "final"):
        return word
    if word.isdecimal():
        return int(word)
    raise UsageError(f"a checkpoint is start, best, final or the number of a step, not {word!r}")


def _services_maker(plan: Plan) -> Callable[[], Services]:
    """Connections of their own for each event loop; the spec's limits hold for all of them together."""
    from dataclasses import replace

    from gift_dsl.players.make import host_limits
    from gift_dsl.players.network import Network

    first = _match_services(plan, PlayOptions())
    urls = plan.runtime.base_urls

    def make() -> Services:
        most = host_limits((url, plan.runtime.concurrency[name]) for name, url in urls.items())
        return replace(first, network=Network(most))

    return make


def compare(
    runs: Sequence[Path], *, measure: Literal["success", "score"] = "success", stage: str | None = None
) -> dict[str, Any]:
    """What may be said of runs, or of results of `evaluate` (files): a `gift-comparison/1` document.

    Raises:
        UsageError: runs and files together, or `stage` with files; and as `run.arms.compare_runs`.
        MachineError, GiftError: as `run.arms.compare_runs`.
    """
    from gift_dsl.run.arms import compare_evaluations, compare_runs

    files = [path for path in runs if path.is_file()]
    if files:
        if len(files) < len(runs) or stage is not None:
            raise UsageError("evaluations are compared with evaluations: runs and --stage do not go with them")
        return compare_evaluations(files, measure=measure)
    return compare_runs(runs, measure=measure, stage=stage)


def compare_with_paper(runs: Sequence[Path], row: str) -> tuple[dict[str, Any], list[Table]]:
    """A run beside a row of the GIFT paper: the document of `gift compare RUN --paper ROW --json`, and its table.

    Raises:
        UsageError: there is no such row, or not one run.
        MachineError: the folder is no run, or was evaluated on nothing that the paper has.
    """
    from gift_dsl.report.tables import paper_table
    from gift_dsl.run.beside import beside_paper

    if len(runs) != 1:
        raise UsageError(f"one run stands beside a row of the paper, not {len(runs)}")
    document, columns = beside_paper(runs[0], row)
    return document, [paper_table(str(document["row"]), columns)]


@frozen
class TournamentOptions:
    """How `tournament` is played.

    Attributes:
        games: by name; all of the first target's plan unless given.
        players: that enter besides: opponents of that plan, or types that need no field.
        rounds: of each pair in each game; None: as the plan's final evaluation or probe.
        samples: plays of each instance that a solver looks at; 0: it is not asked.
        split: of the games' instances.
        sets, only: as `--set` and `--only`, for specs.
        out: where the result goes; None: `tournament/` beside the runs of the first target.
        tell: is told what happens, line by line.
    """

    games: Sequence[str] = ()
    players: Sequence[str] = ()
    rounds: int | None = None
    samples: int = 8
    split: Literal["dev", "test"] = "dev"
    sets: Sequence[str] = ()
    only: Sequence[str] = ()
    out: Path | None = None
    tell: Callable[[str], None] = print


def tournament(targets: Sequence[str], options: TournamentOptions | None = None) -> dict[str, Any]:
    """Let what runs trained, scripted players and the endpoints of specs play each other.

    Args:
        targets: run directories, whose finished models enter (`RUN@start`, `RUN@best`, `RUN@200`: another
            checkpoint), and specs, whose models behind endpoints and local models enter. The games, prompts and
            sampling of the first hold for everybody.
        options: games, players, rounds.

    Returns:
        A `gift-tournament/1` document, which is also written. Pairings that were finished before, under the same
        protocol, are not played again.

    Raises:
        SpecError: a spec has errors.
        UsageError, MachineError: as `run.contest.play_contest`.
    """
    from dataclasses import replace

    from gift_dsl.artifacts.directory import open_run
    from gift_dsl.run import asked
    from gift_dsl.run.contest import ContestRequest, contest_name, named_runs, play_contest

    options = options or TournamentOptions()
    named = {one: found for one in targets if (found := _named_checkpoint(one)) is not None}
    runs = named_runs([named[one] for one in targets if one in named], open_run)
    specs = {one: _contest_plan(one, options) for one in targets if one not in named}
    plan = specs[targets[0]] if targets[0] in specs else runs[0].run.plan
    names = options.games or [game.name for game in plan.games]
    games, chains = asked.named_games(plan, names)
    if chains:
        raise UsageError(f"a tournament plays games, not the chain of the stage `{next(iter(chains))}`")
    entering = [one for spec in specs.values() for one in spec.opponents if one.type in ("openai", "local")]
    entering += [_contest_player(plan, name) for name in options.players]
    request = ContestRequest(
        plan=plan,
        runs=runs,
        players=tuple({one.name: one for one in entering}.values()),
        games=games,
        split=options.split,
        rounds=options.rounds or asked.planned_rounds(plan),
        samples=options.samples,
        output=options.out or Path(),
    )
    if options.out is None:
        folder = runs[0].run.path.parent if targets[0] not in specs else _runs_of(plan)
        request = replace(request, output=folder / "tournament" / contest_name(request))
    return play_contest(request, _services_maker(plan), options.tell)


def _named_checkpoint(target: str) -> tuple[Path, int | Literal["start", "best", "final"]] | None:
    """A run directory and which of its checkpoints is meant; None for what is no run."""
    path, mark, which = target.rpartition("@")
    if mark and not Path(target).exists() and _is_run(Path(path)):
        return Path(path), _checkpoint(which)
    return (Path(target), "final") if _is_run(Path(target)) else None


def _contest_plan(target: str, options: TournamentOptions) -> Plan:
    from gift_dsl.run.preflight import fill_prints

    if not target.endswith((".yaml", ".yml")):
        raise UsageError(f"{target} is neither a spec file nor a run directory")
    plans = check_spec(target, sets=options.sets, only=options.only).plans()
    if len(plans) != 1:
        raise UsageError(f"{target} has {len(plans)} runs; choose one with --only")
    return fill_prints(plans[0])


def _contest_player(plan: Plan, name: str) -> OpponentPlan:
    """A player by name: an opponent of the plan, or a type that needs no field."""
    from gift_dsl.compiler.context import predefined
    from gift_dsl.plan import OpponentPlan
    from gift_dsl.spec.models.fields import plain
    from gift_dsl.spec.models.opponents import PREDEFINED
    from gift_dsl.spec.suggest import did_you_mean

    planned = {one.name: one for one in plan.opponents}
    able = [one for one in PREDEFINED if one not in ("human", "self")]
    found = planned.get(name)
    if found is None and name in able:
        bare = predefined(name)
        found = OpponentPlan(name, name, {key: value for key, value in plain(bare).items() if key != "type"})
    if found is None or found.type in ("human", "self", "snapshot", "pool"):
        known = [*planned, *able]
        raise UsageError(f"`{name}` cannot enter; {did_you_mean(name, known) or 'players are: ' + ', '.join(known)}")
    return found


def games_to_test() -> tuple[str, ...]:
    """Shipped games that can be played by their name alone."""
    from gift_dsl.spec.inline import shipped_games

    return (*(name for name in shipped_games() if name != "math"), "matrix_games", "whos_the_spy")


def law_report(target: str, plays: int = 50) -> dict[str, Any]:
    """Try to break every law with a game.

    Args:
        target: a shipped game, a family of a plugin, or a game file.
        plays: random plays that each law looks at.

    Raises:
        UsageError: there is no such game, or it cannot be made from its name alone.
    """
    from gift_dsl.games.build import build
    from gift_dsl.games.laws import LAWS, check_game

    plan = _game_alone(target)
    findings = {finding.law: finding for finding in check_game(build(plan), range(plays))}
    laws = [
        {
            "name": law.name,
            "text": law.text,
            "applies": findings[law.name].applies,
            "problem": findings[law.name].problem,
            "seed": findings[law.name].seed,
        }
        for law in LAWS
    ]
    ok = all(law["problem"] is None for law in laws)
    return {"schema": "gift-game-test/1", "game": target, "family": plan.family, "plays": plays, "ok": ok, "laws": laws}


def _game_alone(target: str) -> GamePlan:
    if not target.endswith((".yaml", ".yml")):
        plan, _ = _match_plan(target, None, PlayOptions())
        return plan.games[0]
    head = "gift: 1\nname: test\nmodel: {source: ./nobody}\ngames:\n"
    tail = "\nstages:\n  - {name: play, type: grpo, play: game, until: {steps: 1}}\n"
    checked = check_spec("-", f"{head}  game: {{file: {target!r}}}{tail}")
    if {item.code for item in checked.diagnostics if item.severity == "error"} == {"missing-opponents"}:
        checked = check_spec("-", f"{head}  game: {{file: {target!r}, opponents: random}}{tail}")
    return checked.plans()[0].games[0]


def law_table(documents: Sequence[dict[str, Any]]) -> str:
    """Games by laws as a Markdown table, with the laws in words below it."""
    names = [law["name"] for law in documents[0]["laws"]]
    rows = ["| game | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for document in documents:
        marks = ["BROKEN" if law["problem"] else "yes" if law["applies"] else "-" for law in document["laws"]]
        rows.append(f"| {document['game']} | " + " | ".join(marks) + " |")
    words = [f"- `{law['name']}`: {law['text']}" for law in documents[0]["laws"]]
    return "\n".join([*rows, "", "`-`: there is nothing of the kind in this game.", "", *words])
