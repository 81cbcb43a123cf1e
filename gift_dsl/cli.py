"""The commands. Results go to stdout, everything else to stderr; heavy imports live inside the commands.

Exit codes: 0 done, 1 failed, 2 usage, 3 spec invalid, 4 machine not ready, 5 a difference was found, 130 and 143
stopped.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Annotated, Any

# Looking for plugins costs a third of pydantic's import.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

import typer

from gift_dsl import __version__
from gift_dsl.errors import GiftError, MachineError, SpecError, UsageError

app = typer.Typer(
    name="gift",
    help="One YAML file describes an experiment that trains a language model by playing games.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Sets = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a value; repeatable.")]
Only = Annotated[list[str] | None, typer.Option("--only", metavar="AXIS=VALUE", help="Only these runs of a sweep.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
SpecFile = Annotated[str, typer.Argument(metavar="SPEC", help="Spec file, or - for standard input.")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"gift {__version__}")
        raise typer.Exit


def _short_lived() -> None:
    """Collect no garbage: a command that ends within a second leaves none worth looking for, not even at its end.

    The interpreter looks through everything once more before it leaves, a tenth of a cold check; what is frozen it
    passes over.
    """
    gc.disable()
    atexit.register(gc.freeze)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """One YAML file describes an experiment that trains a language model by playing games."""


def _read(path: str) -> tuple[str, bytes | None]:
    """The path of a spec and, for `-`, the text of standard input."""
    return path, sys.stdin.buffer.read() if path == "-" else None


def _print_json(document: Any) -> None:
    import json

    typer.echo(json.dumps(document, ensure_ascii=False, indent=2))


def _ascii_only() -> bool:
    return "utf" not in (getattr(sys.stderr, "encoding", None) or "").lower()


def _color(stream: Any) -> bool:
    """NO_COLOR wins over FORCE_COLOR; no colour on a dumb terminal or into a file."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream is not None and bool(stream.isatty()) and os.environ.get("TERM") != "dumb"


def _tell(diagnostics: Any, sources: dict[str, str]) -> None:
    """Diagnostics on stderr, as a person reads them."""
    from gift_dsl.spec.render import render_text

    color = _color(sys.stderr)
    text = render_text(diagnostics, sources, ascii_only=_ascii_only(), color=color)
    if text:
        typer.echo(text.rstrip("\n"), err=True, color=color)


def _refuse(checked: Any, json: bool) -> None:
    """End the command where a spec is wrong: every mistake for people, and with `--json` what `validate` prints."""
    if checked.ok:
        return
    _tell(checked.diagnostics, checked.sources)
    if json:
        _print_json(_verdict([checked]))
    raise typer.Exit(SpecError.exit_code)


def _verdict(checked: Any) -> dict[str, Any]:
    """The document of `gift validate --json`."""
    from gift_dsl.spec.render import to_json

    found = [entry for item in checked for entry in to_json(item.diagnostics)]
    files, ok = [item.path for item in checked], all(item.ok for item in checked)
    return {"schema": "gift-validate/1", "ok": ok, "files": files, "diagnostics": found}


@app.command()
def validate(
    specs: Annotated[list[str], typer.Argument(metavar="SPEC...", help="Spec files, or - for standard input.")],
    sets: Sets = None,
    only: Only = None,
    json: Json = False,
    style: Annotated[str, typer.Option("--format", help="text, or github for annotations in a workflow.")] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Check specs: every mistake at once, each with its place."""
    _short_lived()
    from gift_dsl import api

    if style not in ("text", "github"):
        raise UsageError(f"--format is text or github, not {style!r}")
    checked = [api.check_spec(*_read(path), sets=sets or (), only=only or (), plan=False) for path in specs]
    if json:
        _print_json(_verdict(checked))
    else:
        for item in checked:
            _report(item, style, quiet)
    if not all(item.ok for item in checked):
        raise typer.Exit(SpecError.exit_code)


def _report(checked: Any, style: str, quiet: bool) -> None:
    """What was found in one spec: annotations on stdout, or diagnostics on stderr and a line when it is right."""
    if style == "github":
        from gift_dsl.spec.render import to_github

        if checked.diagnostics:
            typer.echo(to_github(checked.diagnostics).rstrip("\n"))
        return
    _tell([d for d in checked.diagnostics if not quiet or d.severity == "error"], checked.sources)
    if checked.ok and not quiet:
        runs = f" ({len(checked.runs)} runs)" if len(checked.runs) > 1 else ""
        typer.echo(f"{checked.path}: ok{runs}{' (fragment)' if checked.fragment else ''}")


@app.command()
def plan(
    spec: SpecFile,
    sets: Sets = None,
    only: Only = None,
    against: Annotated[
        str | None, typer.Option(metavar="PLAN_OR_RUN", help="Say what differs from an earlier plan or run.")
    ] = None,
    difference: Annotated[
        float, typer.Option(min=0.1, max=50, metavar="POINTS", help="Say how many rounds and seeds would show it.")
    ] = 5.0,
    spread: Annotated[
        float, typer.Option(min=0, max=50, metavar="POINTS", help="Standard deviation between seeds, for --difference.")
    ] = 3.0,
    json: Json = False,
) -> None:
    """Show what a run would do and need, before anything is loaded."""
    _short_lived()
    from gift_dsl import api
    from gift_dsl.report.plan_text import plan_text

    checked = api.check_spec(*_read(spec), sets=sets or (), only=only or ())
    _refuse(checked, json)
    if checked.fragment:
        raise UsageError(f"{spec} is a fragment (`fragment: true`); plan a spec that extends it")
    if against is not None:
        _compare(checked, against, json)
        return
    if json:
        _print_json(api.plan_document(checked, difference=difference / 100, spread=spread / 100))
        return
    _tell(checked.diagnostics, checked.sources)
    typer.echo(plan_text(checked, width=_width(), difference=difference / 100, spread=spread / 100))


def _width() -> int:
    import shutil

    return shutil.get_terminal_size((120, 24)).columns


def _compare(checked: Any, against: str, json: bool) -> None:
    from gift_dsl import api

    document = api.plan_against(checked, against)
    if json:
        _print_json(document)
    else:
        for change in document["changes"]:
            typer.echo(f"~ {change['path']}  {change['old']} -> {change['new']}  ({change['means']})")
        if not document["changes"]:
            typer.echo("no difference")
    if document["changes"]:
        raise typer.Exit(5)


@app.command()
def run(
    spec: SpecFile,
    sets: Sets = None,
    only: Only = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is not done.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin a new run whatever is there.")] = False,
    processes: Annotated[int | None, typer.Option(min=1, help="Training processes, one a device.")] = None,
    json: Json = False,
) -> None:
    """Perform a run: train, measure, and write everything down."""
    import shlex

    from gift_dsl import api
    from gift_dsl.report.plan_text import plan_text
    from gift_dsl.run.summary import summary_text

    if resume and fresh:
        raise UsageError("--resume and --fresh exclude each other")
    given = [*(sets or ()), *([] if processes is None else [f"resources.processes={processes}"])]
    path, text = _read(spec)
    words = ["gift", "run", spec, *(word for one in sets or () for word in ("--set", one))]
    words += [] if processes is None else ["--processes", str(processes)]
    chosen = [word for one in only or () for word in ("--only", one)]
    checked = api.check_spec(path, text, sets=given, only=only or ())
    _refuse(checked, json)
    _tell(checked.diagnostics, checked.sources)
    is_first = os.environ.get("RANK", "0") == "0"  # under a launcher there are several of us
    if not checked.fragment and not resume and is_first:
        typer.echo(plan_text(checked, width=_width()), err=True)
    options = api.RunOptions(
        mode="resume" if resume else "fresh" if fresh else "new",
        again=shlex.join([*words, *chosen, "--resume"]),
        anew=shlex.join([*words, "--fresh"]),
        tell=lambda line: typer.echo(line, err=True),
    )
    outcomes = api.run_checked(checked, options)
    done = [outcome.summary for outcome in outcomes if outcome.summary is not None]
    if json:
        _print_json(done[0] if len(outcomes) == 1 and done else {"schema": "gift-summary/1", "runs": done})
    else:
        for summary in done:
            typer.echo(summary_text(summary))
    worst = max((outcome.exit_code for outcome in outcomes), default=0)
    if worst:
        raise typer.Exit(worst)


@app.command("eval")
def eval_(
    target: Annotated[
        str, typer.Argument(metavar="SPEC_OR_RUN_OR_MODEL", help="Spec file, run directory, model folder or hub id.")
    ],
    games: Annotated[
        list[str] | None, typer.Option("--games", metavar="NAMES", help="Games or stages, by comma; repeatable.")
    ] = None,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option("--benchmarks", metavar="NAMES", help="Ours, or lm_eval/TASK[@SHOTS], by comma; repeatable."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of each game; as planned unless given.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Most items of each benchmark.")] = None,
    split: Annotated[
        str, typer.Option(help="Of the games' instances: dev, or test, which is to be read once.")
    ] = "dev",
    history: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT", help="Earlier turns in the games' prompts: full or none (paper); else as planned."
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="NAME", help="Evaluate this `openai` or `local` opponent, not the model.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(metavar="WHICH", help="Of a run: final (default), best, start or a step.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="NAME", help="CommonGen's judge: an `openai` opponent, or stand-in (offline).")
    ] = None,
    data: Annotated[Path | None, typer.Option(metavar="DIR", help="Rows of the benchmarks instead of the hub.")] = None,
    processes: Annotated[int | None, typer.Option(min=1, help="Processes that share the work, one a device.")] = None,
    sets: Sets = None,
    only: Only = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the result goes.")] = None,
    style: Annotated[str, typer.Option("--format", help="Of the tables: markdown or latex.")] = "markdown",
    json: Json = False,
) -> None:
    """Evaluate a model on games and benchmarks.

    Every task is kept once it is finished, and not done again by the same command.
    """
    from gift_dsl import api

    if split not in ("dev", "test"):
        raise UsageError(f"--split is dev or test, not {split!r}")
    if history not in (None, "full", "none"):
        raise UsageError(f"--history is full or none, not {history!r}")
    _check_style(style)
    options = api.EvalOptions(
        benchmarks=_names(benchmarks),
        games=_names(games),
        rounds=rounds,
        limit=limit,
        split=split,
        history=history,
        sets=sets or (),
        only=only or (),
        subject=subject,
        checkpoint=checkpoint,
        judge=judge,
        data=data,
        processes=processes,
        out=out,
        tell=_say,
    )
    path, text = _read(target)
    with _interruptible("what is finished is kept, and the same command goes on from there"):
        document = api.evaluate(path, text, options)
    if json:
        _print_json(document)
        return
    from gift_dsl.report.eval_tables import eval_tables

    _print_tables(eval_tables(document), style)


@contextmanager
def _interruptible(kept: str) -> Generator[None]:
    """Ctrl-C and SIGTERM end a command with the code of the design and a line that says what is lost."""
    import signal

    def stop(number: int, _frame: Any) -> None:
        raise KeyboardInterrupt(number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as interrupt:
        number = interrupt.args[0] if interrupt.args else signal.SIGINT
        typer.echo(f"\ngift: interrupted; {kept}", err=True)
        raise typer.Exit(128 + int(number)) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _names(given: list[str] | None) -> list[str]:
    """Names from options that may be repeated and hold several each."""
    return [name.strip() for one in given or () for name in one.split(",") if name.strip()]


def _words(options: Mapping[str, str | int | Path | Sequence[str] | None]) -> list[str]:
    """Options as they are typed, for a command that goes on; those that were not given are left out."""
    found: list[str] = []
    for name, value in options.items():
        several = [] if value is None else [value] if isinstance(value, str | int | Path) else value
        found += [word for one in several for word in (f"--{name}", str(one))]
    return found


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _check_style(style: str) -> None:
    if style not in ("markdown", "latex"):
        raise UsageError(f"--format is markdown or latex, not {style!r}")


def _print_tables(tables: Any, style: str) -> None:
    from gift_dsl.report.tables import to_latex, to_markdown

    render = to_markdown if style == "markdown" else to_latex
    typer.echo("\n".join(render(table) for table in tables), nl=False)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run directories, or files of `gift eval`.")],
    measure: Annotated[str, typer.Option(help="success, or score, in which a draw has its worth.")] = "success",
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="Compare at the end of this stage, on dev, not the final test.")
    ] = None,
    paper: Annotated[
        str | None, typer.Option(metavar="ROW", help="Put one run beside a row of the paper: table2/F+I1/nested.")
    ] = None,
    style: Annotated[str, typer.Option("--format", help="Of the table: markdown or latex.")] = "markdown",
    json: Json = False,
) -> None:
    """Say whether runs differ, or put one beside the paper.

    Runs that differ only in their seed are one arm; a verdict on methods needs three seeds an arm.
    """
    from gift_dsl import api
    from gift_dsl.report.eval_tables import comparison_tables

    _check_style(style)
    if measure not in ("success", "score"):
        raise UsageError(f"--measure is success or score, not {measure!r}")
    if paper is not None:
        document, tables = api.compare_with_paper(runs, paper)
    else:
        document = api.compare(runs, measure=measure, stage=stage)
        tables = comparison_tables(document)
    if json:
        _print_json(document)
    else:
        _print_tables(tables, style)
    if document.get("too_many_voids"):
        games = ", ".join(document["too_many_voids"])
        raise GiftError(f"more than 2 % of the plays of {games} have no result: nothing can be said of them")


@app.command()
def tournament(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="SPEC_OR_RUN...", help="Runs (RUN@start, @best, @STEP), specs: their endpoints enter."),
    ],
    games: Annotated[
        list[str] | None, typer.Option("--games", metavar="NAMES", help="Games of the first target; all unless given.")
    ] = None,
    players: Annotated[
        list[str] | None, typer.Option("--players", metavar="NAMES", help="Enter besides: random, minimax, …")
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Of each pair in each game.")] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Plays of each instance that a solver looks at; 0: it is not asked.")
    ] = 8,
    split: Annotated[str, typer.Option(help="Of the games' instances: dev or test.")] = "dev",
    sets: Sets = None,
    only: Only = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the result goes.")] = None,
    style: Annotated[str, typer.Option("--format", help="Of the tables: markdown or latex.")] = "markdown",
    json: Json = False,
) -> None:
    """Rate trained models, scripted players and endpoints.

    Everybody plays everybody in every game, on the same instances and from all seats. Every pairing is kept once it is
    finished, and not played again by the same command.
    """
    import shlex

    from gift_dsl import api
    from gift_dsl.report.eval_tables import tournament_tables

    if split not in ("dev", "test"):
        raise UsageError(f"--split is dev or test, not {split!r}")
    _check_style(style)
    options = api.TournamentOptions(
        games=_names(games),
        players=_names(players),
        rounds=rounds,
        samples=samples,
        split=split,
        sets=sets or (),
        only=only or (),
        out=out,
        tell=_say,
    )
    given = {"games": games, "players": players, "rounds": rounds, "samples": samples, "split": split}
    words = ["gift", "tournament", *targets, *_words({**given, "set": sets, "only": only, "out": out})]
    with _interruptible(f"finished pairings are kept; go on with: {shlex.join(words)}"):
        document = api.tournament(targets, options)
    if json:
        _print_json(document)
    else:
        _print_tables(tournament_tables(document), style)


@app.command()
def show(
    spec: SpecFile,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="With presets, defaults and game files filled in.")
    ] = False,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value was written.")] = False,
    sets: Sets = None,
    only: Only = None,
    json: Json = False,
) -> None:
    """Print a spec as it is understood."""
    from gift_dsl import api

    checked = api.check_spec(*_read(spec), sets=sets or (), only=only or (), plan=False)
    _refuse(checked, json)
    if json:
        _print_json(api.show_document(checked, resolved=resolved, origin=origin))
    else:
        typer.echo(api.show_text(checked, resolved=resolved, origin=origin), nl=False)


@app.command()
def explain(
    word: Annotated[
        str, typer.Argument(metavar="WORD", help="Key (algorithm.clip_high), type, game, preset, value or code.")
    ],
    json: Json = False,
) -> None:
    """Explain a key, a type, a game, a preset, or a code."""
    from gift_dsl import api

    document = api.explain(word)
    if json:
        _print_json(document)
    else:
        typer.echo(api.explain_text(document), nl=False)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="games, opponents, benchmarks, presets or starters.")],
    json: Json = False,
) -> None:
    """List what a spec can name."""
    from gift_dsl import api

    rows = api.list_things(what)
    if json:
        _print_json({"schema": "gift-list/1", "what": what, "items": rows})
        return
    typer.echo(api.list_text(rows), nl=False)


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of stdout.")] = None,
) -> None:
    """Print the JSON Schema of specs, for editors."""
    from gift_dsl.spec.schema import schema_text

    text = schema_text()
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise MachineError(f"cannot write {out}: {error.strerror or error}") from error
    typer.echo(f"wrote {out}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to start; made if it is not there.")] = Path(),
    start: Annotated[str, typer.Option("--from", metavar="NAME", help="Starter; `gift list starters`.")] = "quickstart",
    json: Json = False,
) -> None:
    """Start a project: a spec, its schema, .gitignore."""
    from gift_dsl import api

    written = api.init_project(folder, start)
    if json:
        _print_json({"schema": "gift-init/1", "written": [str(path) for path in written]})
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"next: gift validate {written[0]}")


@app.command()
def play(
    target: Annotated[str, typer.Argument(metavar="GAME_OR_SPEC", help="Game (`gift list games`) or spec file.")],
    as_: Annotated[str | None, typer.Option("--as", metavar="PLAYER", help="human, random, minimax, …")] = None,
    against: Annotated[str | None, typer.Option(metavar="PLAYER", help="Who sits in every other seat.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Episodes: 1 for a person, else 100.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = 1,
    json: Json = False,
) -> None:
    """Play a game yourself, or let players meet; outcomes are those of the player named by --as."""
    from gift_dsl import api

    player = as_ or ("human" if sys.stdin.isatty() and not json else "random")
    human = player == "human"
    options = api.PlayOptions(
        as_=player,
        against=against,
        rounds=rounds or (1 if human else 100),
        seed=seed,
        ask=_ask,
        on_round=(lambda text: typer.echo(f"\n{text}\n", err=True)) if human else None,
    )
    path, text = _read(target)
    try:
        _print_play(api.play(path, text, options), json)
    except api.PlayInterrupted as stop:
        _print_play(stop.document, json)
        typer.echo(f"\ngift: {stop}", err=True)  # the terminal has echoed ^C on this line
        raise typer.Exit(130) from None
    except api.PlayFailed as failure:
        _print_play(failure.document, json)
        raise


def _print_play(document: dict[str, Any], json: bool) -> None:
    """What was played: one document, or a line for each game and for each reason why nobody could tell how it went."""
    if json:
        _print_json(document)
        return
    rounds = f"{document['played']} of {document['rounds']}" if document["interrupted"] else document["rounds"]
    for label, game in document["games"].items():
        counts = ", ".join(f"{name} {count}" for name, count in game["outcomes"].items() if count)
        chance = "" if game["chance"] is None else f"  (a uniform player: {game['chance']:.2f})"
        typer.echo(f"{label}: {document['as']} in {rounds} rounds: {counts}{chance}")
        for reason, count in game["failures"].items():
            typer.echo(f"  void {count}: {reason}")


game_app = typer.Typer(help="Try to break a game.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(game_app, name="game")


@game_app.callback()
def game_root() -> None:
    """Try to break a game."""


@game_app.command("test")
def game_test(
    target: Annotated[
        str | None, typer.Argument(metavar="GAME", help="Game, game file (.yaml), or family of a plugin.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Every shipped game, as a table.")] = False,
    plays: Annotated[int, typer.Option(min=1, help="Random plays that each law looks at.")] = 50,
    json: Json = False,
) -> None:
    """Run the suite of laws over a game: it must keep every one that applies."""
    from gift_dsl import api

    if (target is None) == (not all_):
        raise UsageError("name one game, or say --all")
    documents = [api.law_report(name, plays) for name in (api.games_to_test() if target is None else (target,))]
    if json:
        _print_json(documents[0] if target is not None else {"schema": "gift-game-test/1", "games": documents})
    elif target is None:
        typer.echo(api.law_table(documents))
    else:
        for law in documents[0]["laws"]:
            mark = "broken" if law["problem"] else "kept" if law["applies"] else "-"
            why = f": {law['problem']} (play {law['seed']})" if law["problem"] else ""
            typer.echo(f"{mark:<7} {law['name']:<14} {law['text']}{why}")
    if not all(document["ok"] for document in documents):
        raise typer.Exit(1)


def _ask(question: str) -> str:
    """Ask a person: the question on stderr, so that stdout holds the result alone."""
    typer.echo(question, err=True, nl=False)
    if sys.stdin.isatty():
        return input()
    # Without a buffer: a thread that waits inside that of stdin keeps the interpreter from ending after Ctrl-C.
    with FileIO(sys.stdin.fileno(), closefd=False) as raw:
        line = raw.readline()
    if not line:
        raise EOFError
    return line.decode(sys.stdin.encoding, "replace")


def main() -> None:
    """Run the command line and end the process with the exit code of the design."""
    try:
        _main()
    except SystemExit as ended:
        if "RANK" not in os.environ or not isinstance(ended.code, int):
            raise
        from gift_dsl.run.processes import end

        end(ended.code)


def _main() -> None:
    try:
        app()
    except SpecError as error:
        _tell(error.diagnostics, {})
        sys.exit(error.exit_code)
    except GiftError as error:
        typer.echo(f"gift: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            sys.exit(_crash(error))
        typer.echo("gift: no space left where this writes to", err=True)
        sys.exit(MachineError.exit_code)
    except Exception as error:  # noqa: BLE001  # a bug is told in one line, with the traceback in a file
        sys.exit(_crash(error))


def _crash(error: Exception) -> int:
    """One line and a file with the traceback: a bug is a crash, but not a wall of text."""
    import platform
    import tempfile
    import traceback

    if os.environ.get("GIFT_DEBUG"):
        raise error
    report = "".join(traceback.format_exception(error))
    versions = f"gift {__version__}, python {platform.python_version()}, {platform.platform()}\n"
    with tempfile.NamedTemporaryFile("w", prefix="gift-crash-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(versions + " ".join(sys.argv[1:2]) + "\n" + report)
    typer.echo(f"gift: this is a bug: {type(error).__name__}: {error}\n  details: {file.name}", err=True)
    return 1
