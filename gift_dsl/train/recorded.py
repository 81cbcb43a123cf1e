"""Recorded episodes: of earlier runs, and of files of JSON lines.

A file holds what a run records (`gift-trajectory/1`), or one conversation a line:

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}], "game": "math"}

with an optional system message first, then users and assistants in turn. Every assistant's message is learned.
`game`, `outcome` (`win`, `draw`, `loss`) and `step` are optional, and are what `where` looks at.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.trajectories import read_index, read_shard
from gift_dsl.errors import MachineError
from gift_dsl.play.transcript import make_transcript
from gift_dsl.records import RECORD_SCHEMA, Trajectory
from gift_dsl.records import Sequence as TokenSequence
from gift_dsl.seat import Codec
from gift_dsl.train.rows_sft import Taught, TaughtRow, Wanted, taught_rows
from gift_dsl.train.teacher import Scribe, make_scribe

_ROLES: Final = ("system", "user", "assistant")


def read_run(run: RunDirectory, codec: Codec, wanted: Wanted) -> Iterator[Taught]:
    """The episodes of a run, in the order played.

    Args:
        run: that recorded them.
        codec: of the policy; the run's must be the same.
        wanted: which are learned from.

    Raises:
        MachineError: its records are damaged, or they are in another tokenizer's ids.
    """
    shards = {str(line["shard"]): int(line["step"]) for line in read_index(run)}
    for shard, step in shards.items():
        if wanted.has_step(step):
            yield from _shard_rows(run.trajectories / shard, codec, wanted)


def read_files(name: str, folder: Path, codec: Codec, wanted: Wanted) -> Iterator[Taught]:
    """The episodes of a file, in its order.

    Args:
        name: a file of JSON lines, also with gzip; relative ones start at `folder`.
        folder: of the spec.
        codec: of the policy.
        wanted: which are learned from.

    Raises:
        MachineError: the file is not there, or a line is no episode; names the line.
    """
    path = folder / Path(name).expanduser()
    lines = _lines(path)
    head, first = next(lines, (0, None))
    if first is None:
        raise MachineError(f"{path} is empty")
    if first.get("schema") == RECORD_SCHEMA:
        if wanted.has_step(int(first["step"])):
            yield from _shard_rows(path, codec, wanted)
        return
    scribe = make_scribe(codec)
    for number, line in chain([(head, first)], lines):
        if _is_wanted(line, wanted):
            yield _chat_rows(scribe, line, f"{path}:{number}")


def _shard_rows(path: Path, codec: Codec, wanted: Wanted) -> Iterator[Taught]:
    for number, trajectory in enumerate(read_shard(path)):
        if number == 0:
            _check_ids(path, codec, trajectory)
        rows = taught_rows(trajectory, wanted)
        if rows:
            yield rows


def _check_ids(path: Path, codec: Codec, trajectory: Trajectory) -> None:
    """Raises MachineError where recorded ids are not what was said in the words of this tokenizer."""
    for turn in trajectory.turns:
        if turn.sequence is None or turn.span is None:
            continue
        sequence: TokenSequence = trajectory.sequences[turn.sequence]
        start, end = turn.span
        try:
            text = codec.decode(sequence.completion_ids[start:end])
        except (IndexError, OverflowError, TypeError):  # an id beyond the vocabulary
            text = None
        if text != turn.text:
            raise MachineError(f"{path} was recorded with another tokenizer: {turn.text!r} would read {text!r}")


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects of a file with the numbers of their lines; blank lines are passed over."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                value: object = json.loads(line)
                if not isinstance(value, dict):
                    raise MachineError(f"{path}:{number} is no JSON object")
                yield number, cast("dict[str, Any]", value)
    except FileNotFoundError as error:
        raise MachineError(f"there is no file {path}") from error
    except (OSError, EOFError, ValueError) as error:
        raise MachineError(f"{path} cannot be read as JSON lines: {error}") from error


def _is_wanted(line: Mapping[str, Any], wanted: Wanted) -> bool:
    return (
        (wanted.games is None or line.get("game") in wanted.games)
        and (wanted.outcomes is None or line.get("outcome") in wanted.outcomes)
        and (wanted.steps is None or (isinstance(line.get("step"), int) and wanted.has_step(line["step"])))
    )


def _chat_rows(scribe: Scribe, line: Mapping[str, Any], where: str) -> Taught:
    """A conversation as rows, with what its assistant says learned."""
    said = _messages(line, where)
    system = said.pop(0)[1] if said[0][0] == "system" else ""
    if not said or len(said) % 2 or [role for role, _ in said] != ["user", "assistant"] * (len(said) // 2):
        raise MachineError(f"{where}: after a system message, users and assistants must speak in turn, a user first")
    transcript = make_transcript(scribe.template, scribe.codec, system, strip=False)
    for role, text in said:
        if role == "user":
            transcript.hear(text, 0)
        else:
            transcript.say(scribe.write(text), 0)
    return tuple(
        TaughtRow((*row.prompt_ids, *row.completion_ids), (*(0 for _ in row.prompt_ids), *row.mask))
        for row in transcript.sequences()
    )


def _messages(line: Mapping[str, Any], where: str) -> list[tuple[str, str]]:
    """Role and text of each message; at least one."""
    found: object = line.get("messages")
    messages = cast("Sequence[object]", found) if isinstance(found, list) else ()
    said = [_message(message, where) for message in messages]
    if not said:
        raise MachineError(f"{where}: there is no list of `messages`")
    return said


def _message(message: object, where: str) -> tuple[str, str]:
    fields: Mapping[str, object] = cast("Mapping[str, object]", message) if isinstance(message, dict) else {}
    role, text = fields.get("role"), fields.get("content")
    if role not in _ROLES or not isinstance(text, str):
        raise MachineError(f"{where}: a message needs a `role` ({', '.join(_ROLES)}) and a `content` of text")
    return str(role), text
