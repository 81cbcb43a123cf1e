"""A checked spec with nothing left to look up: presets, defaults, game files and own templates written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final, cast

from gift_dsl import __version__
from gift_dsl.spec.dump import dump_yaml
from gift_dsl.spec.models.algorithm import resolve_algorithm
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.models.stages import GrpoStage, StageSpec
from gift_dsl.spec.node import Node, dotted

Place = tuple[str | int, ...]

_DEFAULT: Final = "default"


def resolved_data(spec: Spec) -> dict[str, Any]:
    """A spec without errors as plain data that means the same and hashes the same when it is read as a spec."""
    data: dict[str, Any] = plain(spec)
    data["algorithm"] = asdict(resolve_algorithm(spec.algorithm))
    for name, game in spec.games.items():
        if isinstance(game, GameSpec):
            data["games"][name] = _game(data["games"][name])
    data["stages"] = [
        {"name": stage.name, "type": stage.type, **body, **_own_algorithm(spec, stage)}
        for stage, body in zip(spec.stages, data["stages"], strict=True)
    ]
    return data


def _own_algorithm(spec: Spec, stage: StageSpec) -> dict[str, Any]:
    """The whole algorithm of a stage that changes some of it: what it leaves out is of its own preset."""
    if not isinstance(stage, GrpoStage) or stage.algorithm is None:
        return {}
    return {"algorithm": asdict(resolve_algorithm(spec.algorithm, stage.algorithm))}


def _game(data: dict[str, Any]) -> dict[str, Any]:
    """A game with its family's parameters beside the keys that all games have."""
    return {"type": data.pop("type"), **data.pop("params"), **data}


# ── where a value comes from ──


def origins(data: dict[str, Any], tree: Node) -> dict[str, str]:
    """Where each single value was written, by its dotted path: `file:line`, a preset, or `default`."""
    return {dotted(path): _origin(path, tree, data) for path in _leaves(data, ())}


def _leaves(value: object, path: Place) -> Iterator[Place]:
    """The paths of values that hold no others; a list of single values counts as one."""
    if isinstance(value, dict) and value:
        for key, item in cast("dict[str, Any]", value).items():
            yield from _leaves(item, (*path, key))
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in cast("list[Any]", value)):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _leaves(item, (*path, index))
    else:
        yield path


def _origin(path: Place, tree: Node, data: dict[str, Any]) -> str:
    node = tree.at(path)
    if "algorithm" in (path[0], *(path[2:3] if path[0] == "stages" else ())):
        node = node or tree.at(("algorithm", path[-1]))  # a stage starts from what stands at the top
        return f"preset {_preset(data, path)}" if node is None else _place(node)
    return _DEFAULT if node is None else _place(node)


def _preset(data: dict[str, Any], path: Place) -> str:
    """The preset of the algorithm that a path lies in: of the spec, or of a stage."""
    holder = data if path[0] == "algorithm" else data["stages"][path[1]]
    return holder["algorithm"]["preset"]


def _place(node: Node) -> str:
    here = f"{node.span.file}:{node.span.line}"
    return here if node.origin is None else f"{here}, a variable of {node.origin.file}:{node.origin.line}"


# ── as text ──


def show_yaml(document: Mapping[str, Any]) -> str:
    """The document of `gift show` as YAML."""
    written: dict[str, str] = document.get("origins", {})
    run = f", run {document['run']}" if document["run"] else ""
    head = f"# {document['path']}{run}, as gift {__version__} understands it\n"
    if document["resolved"]:
        head += f"# spec_hash {document['spec_hash']}\n"
    return head + dump_yaml(document["spec"], lambda path: written.get(dotted(path)))
