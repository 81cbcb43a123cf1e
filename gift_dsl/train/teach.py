"""Play of scripted players of mixed skill, made on the spot: the episodes of a supervised stage without recordings.

Every episode draws its skill from a range. A share of them repeats one game in one context instead of playing the
composition, so that games with short episodes are not learned from a few tokens. Losing episodes are episodes, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from gift_dsl.errors import GiftError
from gift_dsl.plan import AllOf, JsonMap, Leaf, Play, Schedule, StagePlan, leaves
from gift_dsl.play.compose import Walk, plan_walks, walk_of
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Choice, Seat, Table, TableGame
from gift_dsl.play.table import play_groups
from gift_dsl.play.voids import TooManyVoids
from gift_dsl.records import Trajectory
from gift_dsl.seat import Codec
from gift_dsl.train.teacher import Scribe, Teacher, make_scribe

_ALWAYS: Final[Schedule] = ((0, 1.0),)
_MEASURED: Final = 16
"""Episodes of each game from which its tokens are estimated."""


@dataclass(frozen=True, slots=True, eq=False)
class Lessons:
    """What scripted play is made from.

    Attributes:
        seed: of the plan.
        stage: with `data.scripted`.
        games: on the train split, by name.
        players: everybody but the policy, by name.
        codec: of the policy.
        closing: what is awaited at the end, in the event loop in which was played.
    """

    seed: int
    stage: StagePlan
    games: Mapping[str, TableGame]
    players: Mapping[str, Seat | Choice]
    codec: Codec
    closing: Sequence[Callable[[], Awaitable[None]]] = ()

    @property
    def scripted(self) -> JsonMap:
        """The fields of `data.scripted`."""
        assert self.stage.data is not None
        return self.stage.data["scripted"]

    @property
    def batch_size(self) -> int:
        """Episodes of a step: what composition and weights that depend on the step are read at."""
        assert self.stage.supervised is not None
        return self.stage.supervised["batch_size"]

    def keys(self, step: int, what: Literal["play", "measure"] = "play") -> Keys:
        """Names of the streams of a step."""
        return Keys(self.seed, "train", self.stage.name, step, ("scripted", what))


def scripted_play(lessons: Lessons) -> Iterator[tuple[int, Trajectory]]:
    """Every trajectory with its step, in order; all are made before the first is handed out where somebody waits.

    Raises:
        GiftError: an answer is longer than a turn may be, or no instance fits.
        TooManyVoids: more episodes than `max_void_share` allows have no result.
        PlayerFault: nothing is known of what can be said in a game.
    """
    with asyncio.Runner() as runner, _closed(runner, lessons):
        scribe = make_scribe(lessons.codec)
        copies = runner.run(_copies(lessons, scribe)) if lessons.scripted["pack"] else dict[str, int]()
        num_episodes, size = lessons.scripted["episodes"], lessons.batch_size
        for step, start in enumerate(range(0, num_episodes, size)):
            keys = lessons.keys(step)
            walks = plan_walks(lessons.stage.play, keys, range(min(size, num_episodes - start)))
            packed = [_packed(lessons, copies, keys, walk) for walk in walks]
            for trajectory in runner.run(_play(lessons, scribe, keys, packed)):
                yield step, trajectory


@contextmanager
def _closed(runner: asyncio.Runner, lessons: Lessons) -> Generator[None]:
    """Connections that were opened in a loop are closed in it."""

    async def close() -> None:
        for each in lessons.closing:
            await each()

    try:
        yield
    finally:
        runner.run(close())


async def _play(lessons: Lessons, scribe: Scribe, keys: Keys, walks: Sequence[Walk]) -> list[Trajectory]:
    """The trajectories of one step; episodes without a result are left out."""
    table = Table(lessons.games, scribe.seat(Teacher({}, 0, 0)), lessons.players, lessons.stage.system_prompt)
    played: list[Trajectory] = []
    faults: list[TooManyVoids] = []
    for walk in walks:
        skill = keys.stream("skill", walk.group).uniform(*lessons.scripted["skill"])
        games = {part.leaf.label: lessons.games[part.leaf.game] for part in walk.parts}
        teacher = Teacher(games, skill, lessons.scripted["illegal"])
        try:
            groups = await play_groups(replace(table, policy=scribe.seat(teacher)), keys, [walk], 1)
        except TooManyVoids as fault:
            faults.append(fault)
            continue
        played += (one for group in groups for one in group.trajectories)
    share = min(part.leaf.rollout.max_void_share for walk in walks for part in walk.parts)
    if len(faults) > share * len(walks):
        raise faults[-1]
    for trajectory in played:
        _check_lengths(lessons, trajectory)
    return played


def _check_lengths(lessons: Lessons, trajectory: Trajectory) -> None:
    """Raises GiftError where the policy could not say what was said: its turn would be cut."""
    limits = {leaf.game: leaf.max_tokens_per_turn for leaf in leaves(lessons.stage.play)}
    games = {part.label: part.game for part in trajectory.parts}
    for turn in trajectory.turns:
        game = games[turn.part]
        if turn.tokens > limits[game]:
            raise GiftError(
                f"a scripted answer in `{game}` takes {turn.tokens} tokens, and `max_tokens_per_turn` is "
                f"{limits[game]}: raise it, so that the policy can say what it learns"
            )


def _packed(lessons: Lessons, copies: Mapping[str, int], keys: Keys, walk: Walk) -> Walk:
    """The walk as it is, or one that repeats a single game."""
    scripted, draw = lessons.scripted, keys.stream("pack", walk.group)
    if draw.random() >= scripted["pack"]:
        return walk
    choices = tuple(leaves(lessons.stage.play))
    weights: Mapping[str, float] = scripted.get("weights") or {}
    (leaf,) = draw.choices(choices, [weights.get(leaf.game, 1.0) for leaf in choices])
    return walk_of(_repeated(lessons.stage.play, leaf, copies[leaf.label]), keys, walk.group)


def _repeated(play: Play, leaf: Leaf, times: int) -> Leaf | AllOf:
    """One game several times in one context; told about its outcomes as in the composition."""
    if times == 1:
        return leaf
    parts = tuple(replace(leaf, label=f"{leaf.label}#{number + 1}") for number in range(times))
    feedback = play.feedback if isinstance(play, AllOf) else "none"
    return AllOf(parts, _ALWAYS, "mean", "fixed", "shared", feedback, "none")


async def _copies(lessons: Lessons, scribe: Scribe) -> Mapping[str, int]:
    """How often each game fits into the tokens of the longest one, measured on a few episodes; at least once."""
    tokens: dict[str, float] = {}
    keys = lessons.keys(0, "measure")
    for leaf in leaves(lessons.stage.play):
        played = await _play(lessons, scribe, keys, [walk_of(leaf, keys, number) for number in range(_MEASURED)])
        system = len(lessons.codec.encode(lessons.stage.system_prompt))
        sizes = [len(row.prompt_ids) + len(row.completion_ids) for one in played for row in one.sequences]
        tokens[leaf.label] = max(1.0, sum(sizes) / max(1, len(played)) - system)
    longest = max(tokens.values())
    return {label: max(1, round(longest / size)) for label, size in tokens.items()}
