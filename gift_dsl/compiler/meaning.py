"""The meaning of a spec: what its hash is of. Presets expanded, prompts and game files inlined, machines left out."""

from __future__ import annotations

from typing import Any, Final, cast

from gift_dsl.compiler.batch import stage_algorithm
from gift_dsl.compiler.context import Context
from gift_dsl.compiler.prompts import compile_prompt
from gift_dsl.plan import digest, to_json
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.fields import NotHashed, Strict
from gift_dsl.spec.models.stages import GrpoStage
from gift_dsl.spec.walk import hints, unwrap

SPEC_SCHEMA: Final = "gift-spec/1"


def _hashed(value: Any) -> Any:
    """A model as plain data without None and without fields marked `NotHashed`."""
    if isinstance(value, Strict):
        kept: dict[str, Any] = {}
        for name, hint in hints(type(value)).items():
            item = getattr(value, name)
            marked = any(isinstance(mark, NotHashed) for mark in unwrap(hint)[1])
            if item is not None and not marked:
                kept[name] = _hashed(item)
        return kept
    if isinstance(value, dict):
        return {key: _hashed(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_hashed(item) for item in cast("list[Any]", value)]
    return value


def plain_play(play: Any) -> Any:
    """A composition in its one normal form: singletons gone, parts without options as bare names."""
    if isinstance(play, PartSpec):
        inner = plain_play(play.play)
        own = {k: v for k, v in _hashed(play).items() if k != "play" and not (k == "weight" and v == 1.0)}
        return {"play": inner, **own} if own else inner
    return _plain_composition(play) if isinstance(play, AllOfSpec | AnyOfSpec | InTurnSpec) else play


def _plain_composition(play: AllOfSpec | AnyOfSpec | InTurnSpec) -> Any:
    body: dict[str, Any] = _hashed(play)
    key = next(name for name in ("all_of", "any_of", "in_turn") if name in body)
    parts: list[Any] = [plain_play(part) for part in getattr(play, key)]
    alone: Any = parts[0] if len(parts) == 1 else None
    if alone is not None and not (isinstance(alone, dict) and "play" in alone):
        return cast("Any", alone)
    if key == "in_turn":
        body.setdefault("blocks", [1] * len(parts))
    return {**body, key: parts}


def meaning(context: Context) -> dict[str, Any]:
    """The plain data whose canonical JSON is hashed."""
    spec = context.spec
    body: dict[str, Any] = _hashed(spec)
    del body["algorithm"]
    for name, game in spec.games.items():
        if name in context.games:
            bound = context.games[name]
            body["games"][name]["type"] = bound.family.name
            body["games"][name]["prompt"] = to_json(compile_prompt(context, bound))
        else:
            body["games"][name] = plain_play(game)
    for index, stage in enumerate(spec.stages):
        body["stages"][index]["play"] = plain_play(stage.play)
        if isinstance(stage, GrpoStage):
            algorithm = to_json(stage_algorithm(context, stage))
            del algorithm["preset"]
            body["stages"][index]["algorithm"] = algorithm
    return body


def spec_hash(context: Context) -> str:
    """sha256 over the canonical JSON of the meaning, hex."""
    return digest(SPEC_SCHEMA, meaning(context))
