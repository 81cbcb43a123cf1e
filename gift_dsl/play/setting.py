"""What a group shares: instance, seats, opponents, roles and wording of each part, drawn once for all its members."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from gift_dsl.errors import GiftError
from gift_dsl.games.game import Game, State
from gift_dsl.games.splits import draw_instance
from gift_dsl.plan import GamePlan, PromptPlan
from gift_dsl.play.compose import Part, Walk
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import POLICY, Seat, Table, TableGame
from gift_dsl.prompts import render_prompt


class Notes(NamedTuple):
    """What a message says besides the observation: the variables that every template has (see `prompts.library`)."""

    player: int
    turn: int
    turns_left: int
    feedback: str | None = None
    penalty: str | None = None
    retry_reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """One part as a group plays it.

    Attributes:
        part: of the walk.
        index: of the part in the order played.
        game: its rules and plan.
        state: the first state.
        instance: its canonical key.
        trained: the trained seats.
        names: who sits in each seat; `policy` in the trained ones.
        seats: the players.
        roles: of each seat in this instance; empty where the game has none.
        wording: template of the observations.
        answer: the sentence that asks for the answer format.
        chance: success rate of a uniform player here, where the game states it.
        key: group, game and occurrence: what the streams of this part have in their names.
    """

    part: Part
    index: int
    game: TableGame
    state: State
    instance: str
    trained: tuple[int, ...]
    names: tuple[str, ...]
    seats: tuple[Seat, ...]
    roles: tuple[str, ...]
    wording: str
    answer: str
    chance: float | None
    key: tuple[int, str, int]

    def group_role(self, seat: int) -> str:
        """What trained seats are grouped by: the role, or the seat where the game has no roles."""
        return self.roles[seat] or f"seat {seat}"

    def text(self, observation: object, notes: Notes) -> str:
        """The message for a seat: its observation in this wording, and the request for the answer format."""
        try:
            return _cached_text(self.wording, self.answer, observation, notes)
        except TypeError:  # an observation that holds a list or a map has no hash
            return _text(self.wording, self.answer, observation, notes)


def _text(wording: str, answer: str, observation: object, notes: Notes) -> str:
    shown = render_prompt(wording, {**_values(observation), **notes._asdict()})
    return f"{shown}\n{answer}" if answer else shown


# Members of a group see the same first positions, and a small game has few positions at all.
_cached_text = lru_cache(maxsize=16_384)(_text)


def settle(table: Table, keys: Keys, walk: Walk) -> tuple[Setting, ...]:
    """The settings of every part of a walk.

    Raises:
        GiftError: no instance fits, or trained seats of two games cannot be the same players.
    """
    settings = tuple(
        _settle(_Place(table, keys, walk.group, part, table.games[part.leaf.game]), index)
        for index, part in enumerate(walk.parts)
    )
    sizes = {len(setting.trained) for setting in settings} - {1}
    if len(sizes) > 1:
        names = " and ".join(setting.game.plan.name for setting in settings if len(setting.trained) > 1)
        raise GiftError(f"{names} train every seat, but have different numbers of them")
    return settings


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A part of a group, while its setting is drawn."""

    table: Table
    keys: Keys
    group: int
    part: Part
    game: TableGame

    @property
    def key(self) -> tuple[int, str, int]:
        return (self.group, self.game.plan.name, self.part.occurrence)

    @property
    def takes_turns(self) -> bool:
        """In an evaluation each instance is played from every seat in turn instead of a drawn one."""
        return self.table.evaluation is not None and self.game.plan.trainee_seat == "any"

    def trained_seat(self) -> int | None:
        """The one trained seat, or None where all are trained."""
        chosen, num_seats = self.game.plan.trainee_seat, self.game.facts.seats
        if chosen == "all":
            return None
        if chosen != "any":
            return chosen
        return self.group % num_seats if self.takes_turns else self.keys.stream("seat", *self.key).randrange(num_seats)

    def instance(self, seat: int | None) -> State:
        """The first state; where a role is wanted, the trained seat has it."""
        plan, game = self.game.plan, self.game.game
        number = self.group // self.game.facts.seats if self.takes_turns else self.group
        rng = self.keys.stream("instance", number, plan.name, self.part.occurrence)
        split = self.keys.split if plan.held_out and not self.game.facts.dataset else None
        role = plan.trainee_role
        if role is None or seat is None:
            return draw_instance(game, rng, split)
        return draw_instance(game, rng, split, lambda state: game.role(state, seat) == role)

    def seated(self, roles: Sequence[str], trained: int | None) -> tuple[tuple[str, Seat], ...]:
        """Who sits in each seat. A pool is drawn from once, whatever the number of its seats."""
        rng = self.keys.stream("seats", *self.key)
        names = _names(self.game.plan, roles, trained, rng)
        drawn = {name: self.table.choose(name, rng) for name in dict.fromkeys(names) if name is not None}
        return tuple((POLICY, self.table.policy) if name is None else drawn[name] for name in names)

    def answer(self) -> str:
        """The sentence that asks for the answer format."""
        prompt, evaluation = self.game.plan.prompt, self.table.evaluation
        max_tokens = evaluation.max_tokens if evaluation else self.part.leaf.max_tokens_per_turn
        return _answer_text(prompt, max_tokens)

    def wording(self) -> str:
        """One of the plan's wordings."""
        wordings = self.game.plan.prompt.observations
        return wordings[0] if len(wordings) == 1 else self.keys.stream("wording", *self.key).choice(wordings)


@lru_cache(maxsize=1024)
def _answer_text(prompt: PromptPlan, max_tokens: int) -> str:
    values = {"tag": prompt.tag, "think": prompt.think == "required", "max_tokens": max_tokens}
    return render_prompt(prompt.answer, values)


def _settle(place: _Place, index: int) -> Setting:
    game, trained = place.game, place.trained_seat()
    state = place.instance(trained)
    num_seats = game.facts.seats
    roles = tuple(game.game.role(state, seat) for seat in range(num_seats))
    seated = place.seated(roles, trained)
    return Setting(
        part=place.part,
        index=index,
        game=game,
        state=state,
        instance=game.game.instance_key(state),
        trained=tuple(range(num_seats)) if trained is None else (trained,),
        names=tuple(name for name, _ in seated),
        seats=tuple(player for _, player in seated),
        roles=roles,
        wording=place.wording(),
        answer=place.answer(),
        chance=_chance(game.game, state),
        key=place.key,
    )


def _names(plan: GamePlan, roles: Sequence[str], trained: int | None, rng: random.Random) -> list[str | None]:
    """Who is asked to sit in each seat, by the names of the spec; None in the trained ones."""
    if trained is None:
        return [None] * len(roles)
    if plan.opponents_by == "role":
        return [None if seat == trained else str(plan.opponents[role]) for seat, role in enumerate(roles)]
    others = [str(plan.opponents[place]) for place in sorted(plan.opponents, key=int)]
    if plan.assign == "shuffle":
        rng.shuffle(others)
    return [*others[:trained], None, *others[trained:]]


def _chance(game: Game, state: State) -> float | None:
    chance = getattr(game, "chance", None)
    return None if chance is None else float(chance(state))


def _values(observation: object) -> dict[str, object]:
    names, get = _fields_of(type(observation))
    return dict(zip(names, get(observation), strict=True))


@lru_cache(maxsize=256)
def _fields_of(kind: type[object]) -> tuple[tuple[str, ...], Callable[[object], tuple[object, ...]]]:
    names = tuple(field.name for field in fields(kind))  # pyright: ignore[reportArgumentType]  # a dataclass by contract
    if len(names) > 1:
        return names, attrgetter(*names)
    return names, lambda observation: tuple(getattr(observation, name) for name in names)
