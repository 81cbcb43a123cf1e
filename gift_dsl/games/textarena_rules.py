# pyright: basic
"""TextArena's environments behind our states.

An environment changes with each step; a state of ours keeps one that is never stepped again, and acts on a copy
(0.1 to 0.4 ms, less than playing the whole history again). TextArena draws from Python's and numpy's global
generators: each call runs with both set from a stream that the seed and the number of actions so far name, and puts
them back. So the dice of a play are fixed at its start, whatever else runs in this process.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import Action, FreeText, GameFacts, Legal, Outcome, State
from gift_dsl.games.textarena import TextArenaParams, facts
from gift_dsl.rng import stream

_ANY_TEXT: Final = FreeText()
# The generators that it guards belong to the whole process.
_GLOBAL_GENERATORS: Final = Lock()


@dataclass(frozen=True, slots=True)
class TextArenaObservation:
    """What TextArena has told one seat since that seat acted last; the first time from the beginning.

    Attributes:
        text: one message after the other, each after its sender in brackets. Nothing that was sent to others alone.
    """

    text: str


@dataclass(frozen=True, slots=True)
class TextArenaState:
    """A position, named by its seed and the actions so far.

    Attributes:
        seed: of all chance.
        history: actions in order, those that TextArena refused included.
        turns: actions of each seat.
        heard: for each seat, the messages since it acted last.
        current_player: the seat that acts; -1 when TextArena says so, or when a seat without turns left would act.
        rewards: TextArena's own, once it says that the play is over; None before, and where it gives none.
        env: TextArena's environment in this position. It is copied, never stepped.
    """

    params: TextArenaParams
    seed: int
    history: tuple[Action, ...]
    turns: tuple[int, ...]
    heard: tuple[tuple[str, ...], ...]
    current_player: int
    rewards: tuple[float, ...] | None
    env: Any = field(compare=False, repr=False)

    @property
    def is_terminal(self) -> bool:
        """TextArena has ended the play, or `horizon` has."""
        return self.current_player < 0

    def observation(self, player: int) -> TextArenaObservation:
        """The messages for `player` since it acted last."""
        return TextArenaObservation("\n".join(self.heard[player]))

    def legal_actions(self) -> Legal:
        """Any text. A move that the environment's rules refuse is a turn too, and what it costs is theirs to say."""
        return () if self.is_terminal else _ANY_TEXT

    def apply(self, action: Action) -> TextArenaState:
        """The position after the environment has taken a text, well or badly.

        Raises:
            ValueError: the text is empty or too long, TextArena fails on it, or the play is over.
        """
        if self.is_terminal:
            raise ValueError("the play is over")
        reason = reason_against(_ANY_TEXT, action)
        if reason is not None:
            raise ValueError(reason)
        seat, number = self.current_player, len(self.history) + 1
        with _isolated(self.seed, number):
            env = copy.deepcopy(self.env)
            try:
                is_over, _ = env.step(action)
            except Exception as error:
                raise ValueError(f"TextArena fails on this text: {_shown(error)}") from error
            turns = tuple(count + (player == seat) for player, count in enumerate(self.turns))
            heard = tuple(() if player == seat else told for player, told in enumerate(self.heard))
            before = TextArenaState(self.params, self.seed, (*self.history, action), turns, heard, -1, None, env)
            return _position(before, is_over=bool(is_over))

    def outcome(self) -> tuple[Outcome, ...]:
        """Grades in [0, 1]: (reward + 1) / 2 for each of several seats, the reward itself for a single one.

        TextArena's rewards lie in [-1, 1], those of its games for one player in [0, 1]; anything outside is cut off.
        Where there is no reward, as in a play that `horizon` ended, each of several seats has 0.5, a single one 0.
        """
        if not self.is_terminal:
            raise ValueError(f"the play is not over; seat {self.current_player} is to act")
        rewards = self.rewards or (0.0,) * len(self.turns)
        shares = rewards if len(rewards) == 1 else tuple((reward + 1) / 2 for reward in rewards)
        return tuple(min(max(share, 0.0), 1.0) for share in shares)


@dataclass(frozen=True, slots=True)
class TextArenaGame:
    """An environment with its parameters bound."""

    params: TextArenaParams

    @property
    def facts(self) -> GameFacts:
        """What follows from the parameters."""
        return facts(self.params)

    def start(self, rng: random.Random) -> TextArenaState:
        """The environment after its reset, with a seed from `rng`."""
        return _start(self.params, rng.getrandbits(31))

    def role(self, state: State, player: int) -> str:
        """None: TextArena's roles are hidden in its messages."""
        return ""

    def instance_key(self, state: State) -> str:
        """A digest of all that the environment holds of the position in plain values; later chance does not count."""
        assert isinstance(state, TextArenaState)
        position = [state.heard, _plain(_innermost(state.env).state.game_state)]
        digest = hashlib.blake2b(json.dumps(position).encode(), digest_size=8).hexdigest()
        return f"{self.params.env}:{digest}"


def make_game(params: TextArenaParams) -> TextArenaGame:
    """An environment that was reset once, so that what is wrong with it is said before anything is played.

    Raises:
        MachineError: TextArena is not installed, or the environment lacks something on this machine.
        UsageError: TextArena has no such environment, or not with these seats or options.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from textarena.envs.registration import ENV_REGISTRY
    except ImportError as error:
        raise MachineError(
            f"games of `textarena` need its extra: pip install 'gift-dsl[textarena]' ({error})"
        ) from error
    if params.env not in ENV_REGISTRY:
        raise UsageError(f"TextArena has no environment `{params.env}`{_close(params.env, ENV_REGISTRY)}")
    try:
        _start(params, 0)
    except (AssertionError, TypeError) as error:
        raise UsageError(
            f"TextArena cannot make `{params.env}` with {params.seats} seats and these options: {_shown(error)}"
        ) from error
    except Exception as error:
        raise MachineError(f"TextArena cannot make `{params.env}` here: {_shown(error)}") from error
    return TextArenaGame(params)


def _close(name: str, names: Mapping[str, object]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, names, n=1)
    return f"; did you mean `{found[0]}`?" if found else ""


def _shown(error: Exception) -> str:
    """The first line of a foreign error that says anything."""
    lines = [line.strip(" *\t") for line in str(error).splitlines()]
    return ": ".join((type(error).__name__, *[line for line in lines if line][:1]))


def _start(params: TextArenaParams, seed: int) -> TextArenaState:
    with _isolated(seed, 0):
        import textarena

        env = textarena.make(params.env, **(params.options or {}))
        env.reset(num_players=params.seats, seed=seed)
        turns, heard = (0,) * params.seats, ((),) * params.seats
        return _position(TextArenaState(params, seed, (), turns, heard, -1, None, env), is_over=False)


@contextmanager
def _isolated(seed: int, number: int) -> Iterator[None]:
    """The global generators as a stream gives them, printing and warnings off; all of it put back at the end."""
    import numpy as np

    rng = stream(seed, "textarena", number)
    with _GLOBAL_GENERATORS, warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        kept, kept_of_numpy = random.getstate(), np.random.get_state()  # noqa: TID251, NPY002 - put back below
        random.setstate(rng.getstate())  # noqa: TID251 - TextArena has no other generator
        np.random.seed(rng.getrandbits(32))  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(kept)  # noqa: TID251
            np.random.set_state(kept_of_numpy)  # noqa: NPY002


def _position(before: TextArenaState, *, is_over: bool) -> TextArenaState:
    """The state of an environment that was just reset or stepped.

    Args:
        before: with the environment, and `heard` as it was before.
        is_over: what the environment says.
    """
    env = _innermost(before.env)
    seat = -1 if is_over else int(env.state.current_player_id)
    if seat >= 0 and before.turns[seat] >= before.params.horizon:
        seat = -1
    # Some environments add to the messages when the seat that acts asks for them; those of the others wait there.
    told = {seat: env.get_observation()[1]} if seat >= 0 else {}
    told |= {player: waiting for player, waiting in env.state.observations.items() if player not in told}
    names = env.state.role_mapping
    heard = list(before.heard)
    fresh = [[_worded(message, names) for message in told.get(player, ())] for player in range(len(heard))]
    for player, messages in enumerate(fresh):
        heard[player] = (*heard[player], *messages)
        if player != seat:
            env.state.observations[player] = []
    rewards = env.state.rewards if is_over else None
    return TextArenaState(
        params=before.params,
        seed=before.seed,
        history=before.history,
        turns=before.turns,
        heard=tuple(heard),
        current_player=seat,
        rewards=None if rewards is None else tuple(float(rewards.get(player, 0)) for player in range(len(heard))),
        env=before.env,
    )


def _worded(message: tuple[Any, ...], names: Mapping[int, str]) -> str:
    sender, text = message[0], message[1]
    return f"[{'GAME' if sender == -1 else names.get(sender, f'Player {sender}')}] {text}"


def _innermost(env: Any) -> Any:
    """The environment without its wrappers: ours to keep is the conversation, so theirs of messages are not used."""
    from textarena.core import Wrapper

    while isinstance(env, Wrapper):
        env = env.env
    return env


def _plain(value: object) -> object:
    """A value of any type as JSON that is the same in every process; of what is no plain value only its type."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        return sorted(([repr(_plain(key)), _plain(item)] for key, item in value.items()), key=repr)
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=repr)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return type(value).__name__
