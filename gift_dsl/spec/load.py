"""The spec layer's one entry: a file, options of the command line, and every run that they mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.check import check_spec
from gift_dsl.spec.compose import STDIN, compose
from gift_dsl.spec.inline import Inliner
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node
from gift_dsl.spec.render import deduplicate
from gift_dsl.spec.secrets import find_secrets
from gift_dsl.spec.sweep import expand


@frozen
class LoadedRun:
    """One run of a spec.

    Attributes:
        id: `axis=value,…`; empty without a sweep.
        choices: value of each axis.
        written: composed, variables filled: what the files say, put together.
        tree: composed, variables filled, game files inlined.
        spec: the checked spec; None where it has errors.
    """

    id: str
    choices: dict[str, str]
    written: Node
    tree: Node
    spec: Spec | None


@frozen
class Loaded:
    """All that a spec says.

    Attributes:
        path: the file as it was named.
        runs: at least one unless the file could not be read.
        fragment: a base file that need not be complete; its runs are not compiled.
        folder: relative paths of the spec start here.
        sources: text of every file that spans name, for excerpts.
        sweep: where the sweep stands, if there is one.
        diagnostics: what is wrong with the text and its shape, deduplicated over all runs, in order of place.
    """

    path: str
    runs: tuple[LoadedRun, ...]
    fragment: bool
    folder: Path
    sources: dict[str, str]
    sweep: Span | None
    diagnostics: list[Diagnostic]


def load(path: str, text: str | bytes | None = None, *, sets: Sequence[str] = (), only: Sequence[str] = ()) -> Loaded:
    """Read, compose, expand and check a spec. Nothing is raised for a wrong one: `diagnostics` says it.

    Args:
        path: the file, or `-` for standard input.
        text: what to read instead of the file; required for `-`.
        sets: `path=value` arguments.
        only: `axis=value` selections of a sweep.
    """
    composed = compose(path, text, sets)
    found = list(composed.diagnostics)
    runs: list[LoadedRun] = []
    if composed.tree is not None:
        expanded, more = expand(composed, only)
        inliner = Inliner(composed.root, composed.paths, composed.files)
        found += more
        for run in expanded:
            tree = inliner.inline(run.tree)
            spec, wrong = check_spec(tree)
            found += [*wrong, *find_secrets(tree)]
            runs.append(LoadedRun(run.id, run.choices, run.tree, tree, spec))
        found += inliner.diagnostics
    if composed.fragment:
        found = [item for item in found if item.code not in ("missing-key", "unknown-game", "unknown-opponent")]
    folder = Path.cwd() if path == STDIN else Path(path).absolute().parent
    sweep = composed.sweep.span if composed.sweep is not None else None
    return Loaded(path, tuple(runs), composed.fragment, folder, composed.files, sweep, deduplicate(found))
