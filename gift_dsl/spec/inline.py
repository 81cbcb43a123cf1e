"""Game files: `type: tictactoe` and `file: my.yaml` become a family type with parameters, keys of the spec winning."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.games.families import FAMILIES, plugin_families
from gift_dsl.settings import shipped
from gift_dsl.spec.files import Refusal, locate_file, read_source
from gift_dsl.spec.merge import merge_patch, without
from gift_dsl.spec.node import Node, mapping
from gift_dsl.spec.source import parse_yaml
from gift_dsl.spec.suggest import did_you_mean

COMPOSITIONS: Final = frozenset({"all_of", "any_of", "in_turn"})


def shipped_games() -> tuple[str, ...]:
    """Names of the game files that ship, sorted."""
    return tuple(sorted(path.stem for path in shipped("games").glob("*.yaml")))


def game_types() -> tuple[str, ...]:
    """Everything `type` may say: families, shipped games and plugins."""
    return tuple(sorted({*FAMILIES, *shipped_games(), *plugin_families()}))


@dataclass(slots=True)
class Inliner:
    """Inlines game files into a tree, reading each file once.

    Attributes:
        root: the folder a spec may read from.
        folders: absolute path of each file that spans name.
        files: text of every file read, by the name that spans give it; added to.
        diagnostics: what was wrong with game files.
    """

    root: Path
    folders: dict[str, Path]
    files: dict[str, str]
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    _read: dict[Path, Node | None] = field(default_factory=dict[Path, "Node | None"])

    def inline(self, tree: Node) -> Node:
        """The tree with every game of `games` a family with parameters."""
        games = tree.fields.get("games")
        if games is None or games.kind != "map":
            return tree
        made = {name: self._game(name, game) for name, game in games.fields.items()}
        if all(made[name] is game for name, game in games.fields.items()):
            return tree
        inlined = mapping(made, games.span, games.key_spans, games.style, games.origin)
        return mapping({**tree.fields, "games": inlined}, tree.span, tree.key_spans, tree.style, tree.origin)

    def _game(self, name: str, game: Node) -> Node:
        if game.kind != "map" or game.fields.keys() & COMPOSITIONS:
            return game
        file, kind = game.fields.get("file"), game.fields.get("type")
        if file is not None and kind is not None:
            note = Note("the type is set here", game.key_spans.get("type"))
            message = f"`games.{name}` has both a `type` and a `file`"
            place = game.key_spans.get("file", file.span)
            self._add("game-source", message, place, f"games.{name}.file", "remove one of them", note)
            return without(game, "file")
        if file is not None and file.text is not None:
            return self._merge(game, self._own(name, file), "file")
        if kind is not None and kind.text is not None and kind.text not in FAMILIES and kind.text in shipped_games():
            return self._merge(game, self._shipped(kind.text), "type")
        return game

    def _merge(self, game: Node, base: Node | None, key: str) -> Node:
        return game if base is None else merge_patch(base, without(game, key)) or game

    def _shipped(self, name: str) -> Node | None:
        path = shipped("games") / f"{name}.yaml"
        text, tree = _read_shipped(path, path.stat().st_mtime_ns)
        self.files[f"games/{name}.yaml"] = text
        self.folders[f"games/{name}.yaml"] = path
        return tree

    def _own(self, name: str, file: Node) -> Node | None:
        assert file.text is not None
        asking = self.folders.get(file.span.file)
        directory = asking.parent if asking is not None else Path.cwd()
        found = locate_file(file.text, directory, self.root, "game-file")
        if isinstance(found, Refusal):
            self.diagnostics.append(found.at(file.span))
            return None
        tree = self._parse(found, _shown(found))
        if tree is None:
            return None
        kind = tree.fields.get("type")
        if kind is None or kind.text not in {*FAMILIES, *plugin_families()}:
            hint = did_you_mean(kind.text, sorted(FAMILIES)) if kind is not None and kind.text else None
            message = f"the game file `{file.text}` must name a family as its `type`"
            self._add("game-file-type", message, kind.span if kind else tree.first_line(), f"games.{name}.file", hint)
            return None
        return tree

    def _parse(self, path: Path, shown: str) -> Node | None:
        if path not in self._read:
            text, found = read_source(path, shown)
            tree: Node | None = None
            if text is not None:
                self.files[shown] = text
                self.folders[shown] = path
                tree, more = parse_yaml(text, shown)
                found = [*found, *more]
            if tree is not None and tree.kind != "map":
                found = [*found, Diagnostic("wrong-type", "a game file is a map", tree.first_line())]
                tree = None
            self.diagnostics += found
            self._read[path] = tree
        return self._read[path]

    def _add(self, code: str, message: str, place: Span, path: str, hint: str | None, *notes: Note) -> None:
        self.diagnostics.append(Diagnostic(code, message, place, "error", hint, path, notes))



@lru_cache(maxsize=64)
def _read_shipped(path: Path, changed_ns: int) -> tuple[str, Node]:
    """Text and tree of a shipped game file; read again only when it has changed (a test says they are all right)."""
    del changed_ns
    text = path.read_text(encoding="utf-8")
    tree, wrong = parse_yaml(text, f"games/{path.name}")
    assert tree is not None, wrong
    return text, tree


def _shown(path: Path) -> str:
    """A file as messages name it: relative to the working directory where it lies below it."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
