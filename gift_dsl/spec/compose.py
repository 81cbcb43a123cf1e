"""Composition of files: `extends`, then `--set`; the rest (`vars`, `sweep`) is `sweep.expand`.

The order of a value's sources, later ones winning: defaults < extends (left to right) < the file < `--set` <
`vars` filled in < the axis of a sweep. An axis over `vars.x` is applied before the filling, which is its purpose.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.events import split_lines
from gift_dsl.spec.files import Refusal, locate_file, project_root, read_source
from gift_dsl.spec.merge import merge_files, merge_patch, replace_whole, without
from gift_dsl.spec.node import Node, null
from gift_dsl.spec.paths import Part, PathError, parse_path, patch_at
from gift_dsl.spec.source import decode, parse_yaml, too_big

STDIN: Final = "-"
MAX_CHAIN: Final = 16
NO_FIELDS: Final[Mapping[str, Node]] = MappingProxyType({})
_UNSETTABLE: Final = ("extends", "fragment")


@frozen
class Composed:
    """A spec put together from its files and the command line, not yet filled and expanded.

    Attributes:
        tree: the merged spec without `extends`, `fragment`, `vars`, `sweep` and `x-*`; None where a file could not
            be read, so that nothing can be said about the whole.
        vars: the merged `vars` map, if any.
        sweep: the merged `sweep`, if any.
        fragment: the file itself says `fragment: true`: it is a base, and need not be complete.
        sets: the paths given with `--set`, in order.
        files: the text of every file that spans name, for excerpts; `<--set>` ones included.
        paths: the absolute path of every file read from disk, by the name that spans give it.
        root: the folder that the spec may read from.
        diagnostics: everything found so far.
    """

    tree: Node | None
    vars: Node | None
    sweep: Node | None
    fragment: bool
    sets: tuple[tuple[Part, ...], ...]
    files: dict[str, str]
    paths: dict[str, Path]
    root: Path
    diagnostics: list[Diagnostic]


def compose(path: str, text: str | bytes | None = None, sets: Sequence[str] = ()) -> Composed:
    """Read a spec file with all that it extends, and apply `--set`.

    Args:
        path: the file as the user named it, or `-` for text from standard input (relative to the working directory).
        text: what to read instead of the file; required for `-`.
        sets: `path=value` arguments, applied in order.

    Nothing is raised for a wrong spec: `diagnostics` says it.
    """
    reader = _Reader()
    own = reader.read_first(path, text)
    set_paths, document = _apply_sets(own.tree if own else None, sets, reader)
    reader.diagnostics += too_big(document) if document else []
    usable = document is not None and not reader.broken and not too_big(document)
    parts = document.fields if document else NO_FIELDS
    return Composed(
        tree=without(document, "vars", "sweep", *_shared(document)) if document and usable else None,
        vars=reader.map_or_none(parts.get("vars")),
        sweep=parts.get("sweep"),
        fragment=own is not None and own.fragment,
        sets=set_paths,
        files=reader.files,
        paths=reader.paths,
        root=reader.root,
        diagnostics=reader.diagnostics,
    )


def _shared(node: Node) -> list[str]:
    """The top-level keys that only hold anchors."""
    return [key for key in node.fields if key.startswith("x-")]


@frozen
class _File:
    """One file with its bases folded in. `chain` counts the files of its longest chain, itself included."""

    tree: Node
    fragment: bool
    chain: int


@frozen
class _Link:
    """A file that is being read, and the place that asked for it."""

    file: str
    path: Path
    asked: Span | None


@dataclass(slots=True)
class _Reader:
    """Reads files depth first. `stack` finds cycles; `done` reads each file once, so that diamonds are cheap."""

    root: Path = Path()
    broken: bool = False
    diagnostics: list[Diagnostic] = field(default_factory=lambda: [])
    files: dict[str, str] = field(default_factory=lambda: {})
    paths: dict[str, Path] = field(default_factory=lambda: {})
    stack: list[_Link] = field(default_factory=lambda: [])
    done: dict[Path, _File | None] = field(default_factory=lambda: {})

    def read_first(self, path: str, text: str | bytes | None) -> _File | None:
        """The file that the user named."""
        if path == STDIN:
            link = _Link("<stdin>", Path.cwd().resolve() / "<stdin>", None)
        else:
            link = _Link(path, Path(path).parent.resolve() / Path(path).name, None)
            self.paths[link.file] = link.path
        self.root = project_root(link.path.parent)
        found: list[Diagnostic] = []
        if text is None:
            text, found = read_source(link.path, link.file)
        elif isinstance(text, bytes):
            text, found = decode(text, link.file)
        self.diagnostics += found
        return self._finish(text, link)

    def _finish(self, text: str | None, link: _Link) -> _File | None:
        """Parse the text of a file and fold its bases into it."""
        if text is None:
            self.broken = True
            return None
        self.files[link.file] = text.removeprefix("\ufeff")
        tree, found = parse_yaml(text, link.file)
        self.diagnostics += found
        if tree is None or tree.kind != "map":
            self.broken = True
            if tree is not None:
                self.diagnostics.append(_not_a_map(tree))
            return None
        self.stack.append(link)
        bases = [base for entry in self._entries(tree) if (base := self._base(entry, link)) is not None]
        self.stack.pop()
        folded: Node | None = None
        for layer in (*(base.tree for base in bases), without(tree, "extends", "fragment", *_shared(tree))):
            folded = merge_files(folded, layer)
        assert folded is not None
        return _File(folded, self._fragment(tree), 1 + max((base.chain for base in bases), default=0))

    def _entries(self, tree: Node) -> list[Node]:
        """The references under `extends`."""
        extends = tree.fields.get("extends")
        if extends is None or extends.kind == "null":
            return []
        entries = list(extends.items) if extends.kind == "list" else [extends]
        for entry in entries:
            if entry.kind != "text":
                message = "`extends` takes a path or a list of paths"
                self._refuse(Diagnostic("wrong-type", message, entry.span))
        return [entry for entry in entries if entry.kind == "text"]

    def _fragment(self, tree: Node) -> bool:
        node = tree.fields.get("fragment")
        if node is not None and node.kind not in ("bool", "null"):
            message = "`fragment` must be true or false"
            self.diagnostics.append(Diagnostic("wrong-type", message, node.span, path="fragment"))
        return node is not None and node.value is True

    def map_or_none(self, variables: Node | None) -> Node | None:
        """The map under `vars`; None with a diagnostic if it is something else."""
        if variables is not None and variables.kind != "map":
            message = "`vars` must be a map of names to values"
            self.diagnostics.append(Diagnostic("wrong-type", message, variables.span, path="vars"))
            return None
        return variables

    def _base(self, entry: Node, link: _Link) -> _File | None:
        """The file that an entry of `extends` names, with its own bases."""
        target = locate_file(entry.text or "", link.path.parent, self.root, "extends")
        if isinstance(target, Refusal):
            self._refuse(target.at(entry.span))
            return None
        cycle = next((n for n, open_file in enumerate(self.stack) if open_file.path == target), None)
        if cycle is not None:
            self._refuse(self._cycle(entry, self.stack[cycle:]))
            return None
        if target not in self.done and len(self.stack) < MAX_CHAIN:
            self.done[target] = self._read(entry, link, target)
        known = self.done.get(target)
        if target not in self.done or (known and len(self.stack) + known.chain > MAX_CHAIN):
            message = f"more than {MAX_CHAIN} files extend one another"
            self._refuse(Diagnostic("extends-depth", message, entry.span, hint="merge some of them"))
            return None
        return known

    def _read(self, entry: Node, link: _Link, target: Path) -> _File | None:
        file = os.path.normpath(Path(link.file).parent / (entry.text or ""))
        text, found = read_source(target, file, entry.span)
        self.diagnostics += found
        self.paths[file] = target
        return self._finish(text, _Link(file, target, entry.span))

    def _refuse(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.append(replace(diagnostic, path="extends"))
        self.broken = True

    def _cycle(self, entry: Node, links: list[_Link]) -> Diagnostic:
        names = [link.file for link in links]
        notes = [
            Note(f"`{holder}` extends `{link.file}` here", link.asked)
            for holder, link in zip(names, links[1:], strict=False)
        ]
        message = f"`{names[-1]}` extends `{names[0]}`, which extends it: {' -> '.join([*names, names[0]])}"
        return Diagnostic("extends-cycle", message, entry.span, hint="remove one of these lines", notes=tuple(notes))


def _not_a_map(tree: Node) -> Diagnostic:
    what = {"list": "a list", "text": "text"}.get(tree.kind, "a single value")
    glued = ":" in (tree.text or "") and tree.span.line == tree.span.end_line
    hint = "a space must follow the colon" if glued else "start with `gift: 1`"
    return Diagnostic("yaml-root", f"a spec is a map of keys to values, but this is {what}", tree.span, hint=hint)


def _apply_sets(
    document: Node | None, sets: Sequence[str], reader: _Reader
) -> tuple[tuple[tuple[Part, ...], ...], Node | None]:
    """Apply `--set` arguments in order; errors go to the reader."""
    paths: list[tuple[Part, ...]] = []
    for number, argument in enumerate(sets, 1):
        file = "<--set>" if len(sets) == 1 else f"<--set {number}>"
        reader.files[file] = argument
        try:
            path, value = _read_set(argument, file, reader)
            paths.append(path)
            if document is not None and value is not None:
                # in a sweep a null is part of a value, see `merge_files`
                merge = replace_whole if path[0].name == "sweep" else merge_patch
                document = patch_at(document, path, value, parents_exist=False, merge=merge)
        except PathError as error:
            reader.diagnostics.append(error.diagnostic)
    return tuple(paths), document


def _read_set(argument: str, file: str, reader: _Reader) -> tuple[tuple[Part, ...], Node | None]:
    """Path and value of one `path=value`; the value is None where it is wrong, and null where there is none."""
    length = _path_length(argument)
    # no path holds a line break, but an argument may
    span = Span(file, 1, 1, 1, min(length, len(split_lines(argument)[0])) + 1)
    if length == len(argument):
        raise PathError("`--set` takes path=value", span, "write for example --set seed=1")
    path = parse_path(argument[:length], span)
    if not path[0].is_item and path[0].name in _UNSETTABLE:
        raise PathError(f"`{path[0].name}` belongs to a file and cannot be set", path[0].span)
    text = argument[length + 1 :]
    if not text.strip():
        return path, null(Span(file, 1, length + 1, 1, length + 2))
    value, found = parse_yaml(text, file, column=length + 2)
    reader.diagnostics += found
    return path, value


def _path_length(argument: str) -> int:
    """Number of characters before the `=` that is not in quotes, or all of them."""
    quoted = False
    for index, character in enumerate(argument):
        if character == '"':
            quoted = not quoted
        elif character == "=" and not quoted:
            return index
    return len(argument)
