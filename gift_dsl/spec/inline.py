"""Files that a spec names become what they say: game files, prompt templates, a chat template.

`type: tictactoe` and `file: my.yaml` become a family type with parameters, keys of the spec winning; `prompt.file`
becomes `prompt.template`, whose place is in the template file. A path is relative to the file that says it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.games.families import FAMILIES, plugin_families
from gift_dsl.settings import shipped
from gift_dsl.spec.files import Refusal, locate_file, read_source
from gift_dsl.spec.merge import merge_patch, without
from gift_dsl.spec.node import Node, dotted, mapping, scalar
from gift_dsl.spec.node import Path as Place
from gift_dsl.spec.source import parse_yaml
from gift_dsl.spec.suggest import did_you_mean

COMPOSITIONS: Final = frozenset({"all_of", "any_of", "in_turn"})


@lru_cache(maxsize=1)
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
    _templates: dict[Path, Node | None] = field(default_factory=dict[Path, "Node | None"])

    def inline(self, tree: Node) -> Node:
        """The tree with every game of `games` a family with parameters, and templates as texts."""
        model = tree.fields.get("model")
        if model is not None:
            tree = _with(tree, "model", self._chat_template(model))
        games = tree.fields.get("games")
        if games is None or games.kind != "map":
            return tree
        inlined = games
        for name, game in games.fields.items():
            inlined = _with(inlined, name, self._prompt(name, self._game(name, game)))
        return _with(tree, "games", inlined)

    def _chat_template(self, model: Node) -> Node:
        """The model with the text of its chat template; a value with a brace or a line break is one already."""
        file = model.fields.get("chat_template")
        if file is None or file.text is None or is_template(file.text):
            return model
        text = self._template(file, "chat-template", ("model", "chat_template"))
        return model if text is None else _with(model, "chat_template", text)

    def _prompt(self, name: str, game: Node) -> Node:
        """The game with the text of its own template."""
        prompt = game.fields.get("prompt")
        file = prompt.fields.get("file") if prompt is not None else None
        if prompt is None or file is None or file.text is None:
            return game
        path: Place = ("games", name, "prompt", "file")
        if "template" in prompt.fields:
            message = f"`games.{name}.prompt` has both a `template` and a `file`"
            note = Note("the template is set here", prompt.key_spans["template"])
            self._add("prompt-source", message, prompt.key_spans["file"], path, "remove one of them", note)
            return _with(game, "prompt", without(prompt, "file"))
        text = self._template(file, "prompt-file", path)
        if text is None:
            return game
        key_spans = {**prompt.key_spans, "template": prompt.key_spans["file"]}
        fields = {**prompt.fields, "template": text}
        made = mapping(fields, prompt.span, key_spans, prompt.style, prompt.origin)
        return _with(game, "prompt", without(made, "file"))

    def _template(self, file: Node, word: str, path: Place) -> Node | None:
        """The text of a template file, written as it is read, so that its lines are those of the file."""
        found = self._locate(file, word, path)
        if found is None:
            return None
        if found not in self._templates:
            shown = _shown(found)
            text, wrong = read_source(found, shown, file.span)
            self.diagnostics += wrong
            self._templates[found] = None if text is None else self._text(shown, text)
        return self._templates[found]

    def _text(self, shown: str, text: str) -> Node:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        self.files[shown] = text
        lines = text.split("\n")
        return scalar("text", text, Span(shown, 1, 1, len(lines), len(lines[-1]) + 1), text)

    def _game(self, name: str, game: Node) -> Node:
        if game.kind != "map" or game.fields.keys() & COMPOSITIONS:
            return game
        file, kind = game.fields.get("file"), game.fields.get("type")
        if file is not None and kind is not None:
            note = Note("the type is set here", game.key_spans.get("type"))
            message = f"`games.{name}` has both a `type` and a `file`"
            place = game.key_spans.get("file", file.span)
            self._add("game-source", message, place, ("games", name, "file"), "remove one of them", note)
            game, file = without(game, "file"), None
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
        path: Place = ("games", name, "file")
        found = self._locate(file, "game-file", path)
        tree = self._parse(found, _shown(found), file.span) if found is not None else None
        if tree is None:
            return None
        kind = tree.fields.get("type")
        if kind is None or kind.text not in {*FAMILIES, *plugin_families()}:
            hint = did_you_mean(kind.text, sorted(FAMILIES)) if kind is not None and kind.text else None
            message = f"the game file `{file.text}` must name a family as its `type`"
            self._add("game-file-type", message, kind.span if kind else tree.first_line(), path, hint)
            return None
        return tree

    def _locate(self, file: Node, word: str, path: Place) -> Path | None:
        """The file that a value names, relative to the file in which the value stands."""
        asking = self.folders.get(file.span.file)
        directory = asking.parent if asking is not None else Path.cwd().resolve()
        found = locate_file(file.text or "", directory, self.root, word)
        if isinstance(found, Refusal):
            self.diagnostics.append(replace(found.at(file.span), path=dotted(path)))
            return None
        return found

    def _parse(self, path: Path, shown: str, asked: Span | None = None) -> Node | None:
        if path not in self._read:
            text, found = read_source(path, shown, asked)
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

    def _add(self, code: str, message: str, place: Span, path: Place, hint: str | None, *notes: Note) -> None:
        self.diagnostics.append(Diagnostic(code, message, place, "error", hint, dotted(path), notes))


def is_template(text: str) -> bool:
    """Whether a text is a chat template rather than the name of a file that holds one."""
    return "{" in text or "\n" in text


def _with(node: Node, key: str, value: Node) -> Node:
    """The map with another value at a key that it has; the same node where the value is the same."""
    if node.fields[key] is value:
        return node
    return mapping({**node.fields, key: value}, node.span, node.key_spans, node.style, node.origin)


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
