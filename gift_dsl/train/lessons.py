"""What a supervised stage learns from: scripted play, play of earlier runs, or files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gift_dsl.artifacts.origins import named_run
from gift_dsl.errors import GiftError
from gift_dsl.play.seats import Choice, Seat
from gift_dsl.train.job import StageJob
from gift_dsl.train.recorded import read_files, read_run
from gift_dsl.train.rows_sft import Taught, fits, make_wanted, taught_play
from gift_dsl.train.teach import Lessons, scripted_play

_LOG: Final = logging.getLogger(__name__)


def collect(job: StageJob, players: Mapping[str, Seat | Choice]) -> list[Taught]:
    """Every episode of which something is learned, in a fixed order.

    Args:
        job: of a supervised stage.
        players: everybody but the policy, snapshots included, for scripted play.

    Raises:
        MachineError: recorded play is not there or cannot be read.
        GiftError: nothing is left to learn from, or scripted play fails.
    """
    stage = job.stage
    episodes = list(_taught(job, players))
    kept = [episode for episode in episodes if fits(episode, stage.max_context)]
    if len(kept) < len(episodes):
        _LOG.warning(
            "%d of the %d episodes of stage `%s` are longer than its context of %d tokens and are left out",
            len(episodes) - len(kept),
            len(episodes),
            stage.name,
            stage.max_context,
        )
    if not kept:
        raise GiftError(f"stage `{stage.name}` has nothing to learn from: no episode of its `data` is wanted and fits")
    return kept


def _taught(job: StageJob, players: Mapping[str, Seat | Choice]) -> Iterator[Taught]:
    plan, stage, codec = job.plan, job.stage, job.engine.codec
    assert stage.data is not None
    wanted, folder = make_wanted(stage.data.get("where")), Path(plan.runtime.folder)
    if stage.data.get("scripted") is not None:
        lessons = Lessons(plan.seed, stage, job.games, players, codec, job.closing)
        yield from taught_play(scripted_play(lessons), wanted)
    for name in stage.data.get("runs") or ():
        yield from read_run(named_run(plan, name), codec, wanted)
    for name in stage.data.get("files") or ():
        yield from read_files(name, folder, codec, wanted)
