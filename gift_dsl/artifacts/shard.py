"""The text of a shard: played trajectories as JSON lines, and back, exactly.

The first line says what the shard is; then come the prompts, each once, under the sha256 of their ids; then one line a
trajectory. A sequence is a prompt and segments: the runs of ids that were sampled in one turn, with their log-probs, or
given in one part, in order.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import groupby
from json.encoder import encode_basestring as quoted
from typing import Any, Final, Literal, cast

from gift_dsl.artifacts.decode import DecodeError, decode
from gift_dsl.artifacts.files import json_line
from gift_dsl.plan import JsonMap
from gift_dsl.records import RECORD_SCHEMA, Group, PartRecord, Trajectory, TurnRecord
from gift_dsl.records import Sequence as TokenSequence

_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_PLAIN: Final = tuple(field.name for field in fields(Trajectory) if field.name not in ("sequences", "parts", "turns"))
_NOTHING: Final[JsonMap] = {}

Precision = Literal["float32", "float64"]


def prompt_key(ids: Sequence[int]) -> str:
    """sha256 over the ids in decimal, joined by commas; hex."""
    return hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest()


def shard_lines(stage_index: int, stage: str, step: int, groups: Sequence[Group]) -> Iterator[dict[str, Any]]:
    """Every line of a shard, as JSON data."""
    return map(json.loads, shard_texts(stage_index, stage, step, groups))


def shard_texts(stage_index: int, stage: str, step: int, groups: Sequence[Group]) -> Iterator[str]:
    """Every line of a shard, without its line break.

    Numbers are by far the most of it. Python writes a list of them ten times as fast as its JSON encoder does, and
    alike but for the blanks.
    """
    trajectories = [one for group in groups for one in group.trajectories]
    ids_of = dict.fromkeys(sequence.prompt_ids for one in trajectories for sequence in one.sequences)
    prompts = {ids: prompt_key(ids) for ids in ids_of}  # members of a group share one
    yield json_line(
        {
            "schema": RECORD_SCHEMA,
            "stage_index": stage_index,
            "stage": stage,
            "step": step,
            "prompts": len(prompts),
            "trajectories": len(trajectories),
        }
    )
    for ids, key in prompts.items():
        yield f'{{"prompt":"{key}","ids":{_numbers(ids)}}}'
    for one in trajectories:
        sequences = ",".join([_sequence(sequence, prompts[sequence.prompt_ids]) for sequence in one.sequences])
        yield f'{_trajectory(one)},"sequences":[{sequences}]}}'


def _trajectory(one: Trajectory) -> str:
    """All of it but its sequences, without the last brace."""
    data = {name: getattr(one, name) for name in _PLAIN}
    data["return"] = one.raw_return
    parts, turns = ",".join(map(_part, one.parts)), ",".join(map(_turn, one.turns))
    return f'{json_line(data)[:-1]},"parts":[{parts}],"turns":[{turns}]'


def _part(record: PartRecord) -> str:
    """A part, without what is as it is by default."""
    written = (
        f'{{"label":{quoted(record.label)},"game":{quoted(record.game)},"instance":{quoted(record.instance)},'
        f'"seat":{record.seat},"role":{quoted(record.role)},"outcome":"{record.outcome}","reward":{json_line(record.reward)}'
    )
    if record.penalty:
        written += f',"penalty":{json_line(record.penalty)}'
    if record.reason is not None:
        written += f',"reason":{quoted(record.reason)}'
    if record.opponent_illegal:
        written += f',"opponent_illegal":{record.opponent_illegal}'
    if record.truncated:
        written += f',"truncated":{record.truncated}'
    if record.chance is not None:
        written += f',"chance":{json_line(record.chance)}'
    return written + "}"


def _turn(record: TurnRecord) -> str:
    """A turn, without what is as it is by default. There are thousands in a step: see docs/performance.md."""
    action = "null" if record.action is None else quoted(record.action)
    written = (
        f'{{"part":{quoted(record.part)},"seat":{record.seat},"player":{quoted(record.player)},'
        f'"text":{quoted(record.text)},"action":{action},"end":"{record.end}"'
    )
    if record.reason is not None:
        written += f',"reason":{quoted(record.reason)}'
    if record.tokens:
        written += f',"tokens":{record.tokens}'
    if record.sequence is not None:
        written += f',"sequence":{record.sequence}'
    if record.span is not None:
        written += f',"span":[{record.span[0]},{record.span[1]}]'
    if record.penalty:
        written += f',"penalty":{json_line(record.penalty)}'
    return written + "}"


def _sequence(sequence: TokenSequence, prompt: str) -> str:
    runs = list(_runs(sequence))
    sampled: list[float] = []
    for _, _, own, start, end in runs:
        if own:
            sampled += sequence.logprobs[start:end]
        elif any(sequence.logprobs[start:end]):
            raise ValueError("a token that was given has a log-prob")
    precision, written = _written(sampled)
    segments = ",".join(_segments(sequence.completion_ids, runs, written))
    return f'{{"prompt":"{prompt}","logprobs":"{precision}","segments":[{segments}]}}'


def _runs(sequence: TokenSequence) -> Iterator[tuple[int, int, int, int, int]]:
    """Ids that belong together: part, turn, whether they were sampled, and where they begin and end."""
    end = 0
    for (part, turn, own), run in groupby(zip(sequence.parts, sequence.turns, sequence.mask, strict=True)):
        start, end = end, end + len([*run])
        yield part, turn, own, start, end


def _segments(
    ids: tuple[int, ...], runs: Iterable[tuple[int, int, int, int, int]], logprobs: list[float | str]
) -> Iterator[str]:
    used = 0
    for part, turn, own, start, end in runs:
        head = f'{{"part":{part},"turn":{turn},"sampled":{"true" if own else "false"},"ids":{_numbers(ids[start:end])}'
        if own:
            yield f'{head},"logprobs":{_numbers(logprobs[used : used + end - start])}}}'
            used += end - start
        else:
            yield f"{head}}}"


def _numbers(values: Sequence[float | str]) -> str:
    """A JSON list of finite numbers, and of names without quotes in them."""
    return str([*values]).replace(" ", "").replace("'", '"')


def _written(values: list[float]) -> tuple[Precision, list[float | str]]:
    """Log-probs as they are written: with few digits where they came from float32, which 9 digits tell apart."""
    single = array("f", values).tolist()
    if not all(map(math.isfinite, values)):
        # Rows like these stop a run, and are what one wants to look at then.
        return "float64", [value if math.isfinite(value) else _name(value) for value in values]
    if single != values:
        return "float64", [*map(float, values)]
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
