"""What was played: one compressed shard a step, and an index with one line a trajectory.

    trajectories/<stage>/step-000123.jsonl.gz     every token, turn and part; `zcat` and `jq` read it
    trajectories/index.jsonl                      what one searches by, and in which shard it is

A shard is whole or not there. It is written before its lines of the index, so that what the index names is there.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.decode import DecodeError
from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import explained, safe_name, sync_folder, write_whole
from gift_dsl.artifacts.lines import Lines, cut, is_until, read_lines
from gift_dsl.artifacts.shard import read_shard_lines, shard_texts
from gift_dsl.errors import MachineError
from gift_dsl.records import Group, Trajectory

INDEX: Final = "index.jsonl"
_SHARD: Final = re.compile(r"step-([0-9]+)\.jsonl\.gz")
_LEVEL: Final = 6


def index_file(run: RunDirectory) -> Path:
    """Where the index of a run is."""
    return run.trajectories / INDEX


def shard_path(run: RunDirectory, stage: str, step: int) -> Path:
    """Where the shard of a step is or will be."""
    return run.trajectories / safe_name(stage) / f"step-{step:06d}.jsonl.gz"


def write_shard(run: RunDirectory, stage_index: int, stage: str, step: int, groups: Sequence[Group]) -> Path:
    """Write what was played in one step, once; where it is.

    Args:
        run: held by this process.
        stage_index: of the stage, counted from 0.
        stage: name of the stage.
        step: within the stage, counted from 0.
        groups: what is recorded of the step, all of it or a sample.

    Raises:
        MachineError: the step has a shard already, or the disk is full.
    """
    path = shard_path(run, stage, step)
    if path.exists():
        raise MachineError(f"{path} is there already: step {step} of stage {stage} was recorded before")
    with explained(path):
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True)
            sync_folder(run.trajectories)
            sync_folder(run.path)
        write_whole(path, _compressed(shard_texts(stage_index, stage, step, groups)))
    place = {"stage_index": stage_index, "stage": stage, "step": step}
    shard = path.relative_to(run.trajectories).as_posix()
    with Lines(index_file(run)) as index:
        index.extend(
            {"id": one.episode, "group": one.group, "member": one.member, **place, **_entry(one), "shard": shard}
            for group in groups
            for one in group.trajectories
        )
    return path


def _compressed(lines: Iterator[str]) -> bytes:
    """Gzip without name and time: equal lines are equal bytes, wherever zlib is the same."""
    text = "".join([f"{line}\n" for line in lines]).encode()
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=buffer, mtime=0) as packed:
        packed.write(text)
    return buffer.getvalue()


def _entry(one: Trajectory) -> dict[str, Any]:
    """What one searches a trajectory by."""
    return {
        "task": one.task,
        "games": list(dict.fromkeys(part.game for part in one.parts)),
        "return": one.raw_return,
        "outcomes": {part.label: part.outcome for part in one.parts},
        "tokens": sum(turn.tokens for turn in one.turns),
        "turns": len(one.turns),
    }


def read_shard(path: Path) -> Iterator[Trajectory]:
    """The trajectories of a shard as they were played, in the order written.

    Raises:
        MachineError: there is no such shard, or it is damaged.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as opened:
            yield from read_shard_lines(json.loads(line) for line in opened)
    except FileNotFoundError as error:
        raise MachineError(f"there is no shard at {path}") from error
    except (DecodeError, KeyError, ValueError, EOFError, OSError, zlib.error) as error:
        raise MachineError(f"{path} is damaged: {error}") from error


def read_index(run: RunDirectory) -> Iterator[dict[str, Any]]:
    """The lines of the index, in the order played; none before the first step.

    Keys: id, group, member, stage_index, stage, step, task, games, return (null when void), outcomes by part, tokens
    sampled, turns, shard (relative to `trajectories/`).
    """
    return read_lines(index_file(run))


def cut_after(run: RunDirectory, stages: Sequence[str], stage_index: int, step: int) -> int:
    """Remove what was recorded after a step, for a resume from it; the number of shards removed.

    Args:
        run: held by this process.
        stages: names of the plan's stages, in order.
        stage_index: stage of the last step that stays; later stages are removed whole, earlier ones stay.
        step: last step of that stage that stays; -1 keeps none.
    """
    # The index first: whoever is killed in between leaves shards without lines, which the same call removes.
    cut(index_file(run), is_until(stage_index, step))
    removed = 0
    for index, stage in enumerate(stages):
        for path in _shards(run, stage):
            if (index, _step_of(path)) > (stage_index, step):
                path.unlink()
                removed += 1
    return removed


def _shards(run: RunDirectory, stage: str) -> list[Path]:
    folder = run.trajectories / safe_name(stage)
    return [path for path in folder.iterdir() if _step_of(path) >= 0] if folder.is_dir() else []


def _step_of(path: Path) -> int:
    found = _SHARD.fullmatch(path.name)
    return int(found[1]) if found else -1
