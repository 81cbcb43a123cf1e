"""The text of a shard: played trajectories as JSON lines, and back, exactly.

The first line says what the shard is; then come the prompts, each once, under the sha256 of their ids; then one line a
trajectory. A sequence is a prompt and segments: the runs of ids that were sampled in one turn, with their log-probs, or
given in one part, in order.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import compress, groupby
from operator import attrgetter, not_
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from gift_dsl.artifacts.decode import DecodeError, decode
from gift_dsl.plan import JsonMap
from gift_dsl.records import RECORD_SCHEMA, Group, PartRecord, Trajectory, TurnRecord
from gift_dsl.records import Sequence as TokenSequence

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN: Final = tuple(field.name for field in fields(Trajectory) if field.name not in ("sequences", "parts", "turns"))
_NOTHING: Final[JsonMap] = {}
# Of each kind of record: names and defaults of its fields, and what reads them all. Values are plain, or a span.
_FIELDS_OF: Final = MappingProxyType(
    {
        kind: (
            tuple(field.name for field in fields(kind)),
            tuple(field.default for field in fields(kind)),
            attrgetter(*(field.name for field in fields(kind))),
        )
        for kind in (PartRecord, TurnRecord)
    }
)
Precision = Literal["float32", "float64"]


def prompt_key(ids: Sequence[int]) -> str:
    """sha256 over the ids in decimal, joined by commas; hex."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def shard_lines(stage_index: int, stage: str, step: int, groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """Every line of a shard, as JSON data."""
    trajectories = [one for group in groups for one in group.trajectories]
    ids_of = dict.fromkeys(sequence.prompt_ids for one in trajectories for sequence in one.sequences)
    prompts = {ids: prompt_key(ids) for ids in ids_of}  # members of a group share one
    yield {
        "schema": RECORD_SCHEMA,
        "stage_index": stage_index,
        "stage": stage,
        "step": step,
        "prompts": len(prompts),
        "trajectories": len(trajectories),
    }
    for ids, key in prompts.items():
        yield {"prompt": key, "ids": list(ids)}
    for one in trajectories:
        yield _trajectory(one, prompts)


def _trajectory(one: Trajectory, prompts: Mapping[tuple[int, ...], str]) -> dict[str, Any]:
    data = {name: getattr(one, name) for name in _PLAIN}
    data["return"] = one.raw_return
    data["parts"] = [_short(part) for part in one.parts]
    data["turns"] = [_short(turn) for turn in one.turns]
    data["sequences"] = [_sequence(sequence, prompts[sequence.prompt_ids]) for sequence in one.sequences]
    return data


def _short(record: PartRecord | TurnRecord) -> dict[str, Any]:
    """The data of a record without the values that are its fields' defaults."""
    names, defaults, values_of = _FIELDS_OF[type(record)]
    values = zip(names, defaults, values_of(record), strict=True)
    return {
        name: list(cast("tuple[int, int]", value)) if isinstance(value, tuple) else value
        for name, default, value in values
        if value != default
    }


def _sequence(sequence: TokenSequence, prompt: str) -> dict[str, Any]:
    if any(compress(sequence.logprobs, map(not_, sequence.mask))):
        raise ValueError("a token that was given has a log-prob")
    precision, written = _written(list(compress(sequence.logprobs, sequence.mask)))
    return {"prompt": prompt, "logprobs": precision, "segments": list(_segments(sequence, written))}


def _segments(sequence: TokenSequence, logprobs: list[float | str]) -> Iterator[dict[str, Any]]:
    ids = list(sequence.completion_ids)
    start = used = 0
    for (part, turn, own), run in groupby(zip(sequence.parts, sequence.turns, sequence.mask, strict=True)):
        size = sum(1 for _ in run)
        segment: dict[str, Any] = {"part": part, "turn": turn, "sampled": bool(own), "ids": ids[start : start + size]}
        if own:
            segment["logprobs"] = logprobs[used : used + size]
            used += size
        yield segment
        start += size


def _written(values: list[float]) -> tuple[Precision, list[float | str]]:
    """Log-probs as they are written: with few digits where they came from float32, which 9 digits tell apart."""
    single = array("f", values).tolist()
    if not all(map(math.isfinite, values)):
        # Rows like these stop a run, and are what one wants to look at then.
        return "float64", [value if math.isfinite(value) else _name(value) for value in values]
    if single != values:
        return "float64", [*values]
    short = [float(f"{value:.8g}") for value in values]
    exact = zip(short, array("f", short), single, strict=True)
    return "float32", [text if back == value else float(f"{value:.9g}") for text, back, value in exact]


def _name(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def read_shard_lines(lines: Iterable[JsonMap]) -> Iterator[Trajectory]:
    """The trajectories of a shard's lines, in the order written.

    Raises:
        DecodeError: the lines are not those of a shard of this version, or some are missing.
    """
    rest = iter(lines)
    header: JsonMap = next(rest, _NOTHING)
    if header.get("schema") != RECORD_SCHEMA:
        raise DecodeError(f"schema: expected {RECORD_SCHEMA}, got {header.get('schema')!r}")
    prompts: dict[str, tuple[int, ...]] = {}
    found = 0
    for line in rest:
        if "prompt" in line:
            prompts[str(line["prompt"])] = tuple(line["ids"])
        else:
            found += 1
            yield _read_trajectory(line, prompts)
    if found != header["trajectories"]:
        raise DecodeError(f"{header['trajectories']} trajectories were written and {found} are there")


def _read_trajectory(line: JsonMap, prompts: Mapping[str, tuple[int, ...]]) -> Trajectory:
    values: dict[str, Any] = {name: line[name] for name in _PLAIN}
    return Trajectory(
        **values,
        sequences=tuple(_read_sequence(data, prompts) for data in line["sequences"]),
        parts=cast("tuple[PartRecord, ...]", decode(tuple[PartRecord, ...], line["parts"], "parts")),
        turns=cast("tuple[TurnRecord, ...]", decode(tuple[TurnRecord, ...], line["turns"], "turns")),
    )


def _read_sequence(data: JsonMap, prompts: Mapping[str, tuple[int, ...]]) -> TokenSequence:
    ids: list[int] = []
    mask: list[int] = []
    logprobs: list[float] = []
    parts: list[int] = []
    turns: list[int] = []
    for segment in cast("list[JsonMap]", data["segments"]):
        count = len(segment["ids"])
        ids += segment["ids"]
        mask += [int(segment["sampled"])] * count
        parts += [segment["part"]] * count
        turns += [segment["turn"]] * count
        logprobs += _read_logprobs(segment["logprobs"], data["logprobs"]) if segment["sampled"] else [0.0] * count
    return TokenSequence(prompts[data["prompt"]], tuple(ids), tuple(mask), tuple(logprobs), tuple(parts), tuple(turns))


def _read_logprobs(written: Sequence[float | str], precision: Precision) -> list[float]:
    values = [_NOT_FINITE[value] if isinstance(value, str) else float(value) for value in written]
    return list(array("f", values)) if precision == "float32" else values
