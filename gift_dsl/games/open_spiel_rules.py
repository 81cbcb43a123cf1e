# pyright: basic
"""OpenSpiel's games behind our states.

OpenSpiel's chance is drawn by us: the n-th draw of a play is made with a stream that the seed and n name, so all of it
is fixed at the start. Games in which players act at the same time are played seat by seat, each without seeing the
others' actions, by OpenSpiel's own conversion.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.games.game import Action, GameFacts, Legal, Outcome, State
from gift_dsl.games.open_spiel import OpenSpielParams, facts
from gift_dsl.rng import stream


@dataclass(frozen=True, slots=True)
class OpenSpielObservation:
    """What OpenSpiel shows one seat, in its own words; it tells nobody the rules.

    Attributes:
        text: the game's name, the seat, OpenSpiel's text for this seat, and whoever acts is told the legal actions.
        legal: what this seat may do now; empty when another one acts or the game is over.
    """

    text: str
    legal: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class OpenSpielState:
    """A position, named by its seed and OpenSpiel's actions so far.

    Attributes:
        seed: of all chance.
        history: OpenSpiel's numbers of all actions in order, those of chance included.
        turns: actions of each seat.
        current_player: the seat that acts; -1 at the end, or when a seat without turns left would act.
        position: OpenSpiel's own state. It is copied, never changed.
    """

    params: OpenSpielParams
    seed: int
    history: tuple[int, ...]
    turns: tuple[int, ...]
    current_player: int
    position: Any = field(compare=False, repr=False)

    @property
    def is_terminal(self) -> bool:
        """OpenSpiel has ended the play, or `horizon` has."""
        return self.current_player < 0

    def legal_actions(self) -> Legal:
        """OpenSpiel's texts of the actions."""
        return tuple(self._actions())

    def observation(self, player: int) -> OpenSpielObservation:
        """The board where everybody sees everything, else all that `player` knows."""
        legal = tuple(self._actions()) if player == self.current_player else ()
        title = f"{self.position.get_game().get_type().long_name}. You are player {player} of {len(self.turns)}"
        lines = [f"{title}, counted from 0.", _shown(self.position, player).rstrip()]
        lines += [f"Your legal actions: {'  '.join(legal)}"] if legal else []
        return OpenSpielObservation("\n".join(lines), legal)

    def apply(self, action: Action) -> OpenSpielState:
        """The position after the current player acts, and chance after it.

        Raises:
            ValueError: the action is not legal, or the play is over.
        """
        number = self._actions().get(action)
        if number is None:
            raise ValueError(f"illegal action {action!r}; legal: {self.legal_actions()}")
        position = self.position.clone()
        position.apply_action(number)
        turns = tuple(count + (player == self.current_player) for player, count in enumerate(self.turns))
        return _state(self.params, self.seed, position, turns)

    def outcome(self) -> tuple[Outcome, ...]:
        """The returns, mapped from the least and most utility of the game to [0, 1]; 0.5 where the two are equal.

        Of a play that `horizon` ended, the returns so far.
        """
        if not self.is_terminal:
            raise ValueError(f"the play is not over; seat {self.current_player} is to act")
        game = self.position.get_game()
        low, high = game.min_utility(), game.max_utility()
        if high <= low:
            return (0.5,) * len(self.turns)
        shares = ((value - low) / (high - low) for value in self.position.returns())
        return tuple(min(max(share, 0.0), 1.0) for share in shares)

    def _actions(self) -> dict[Action, int]:
        """OpenSpiel's number of each legal action by its text; the number stands in texts that are not unique."""
        if self.is_terminal:
            return {}
        numbers = self.position.legal_actions()
        texts = [self.position.action_to_string(self.current_player, number).strip() for number in numbers]
        named = {text or str(number): number for text, number in zip(texts, numbers, strict=True)}
        if len(named) == len(numbers):
            return named
        return {f"{text} ({number})".strip(): number for text, number in zip(texts, numbers, strict=True)}


@dataclass(frozen=True, slots=True)
class OpenSpielGame:
    """A game with its parameters bound.

    Attributes:
        params: its parameters.
        rules: OpenSpiel's own game, which never changes.
    """

    params: OpenSpielParams
    rules: Any = field(compare=False, repr=False)

    @property
    def facts(self) -> GameFacts:
        """What follows from the parameters, and from the texts that OpenSpiel has for this game."""
        return replace(facts(self.params), whole_observations=_tells_all(self.rules.get_type()))

    def start(self, rng: random.Random) -> OpenSpielState:
        """The first position in which somebody acts."""
        return _state(self.params, rng.getrandbits(64), self.rules.new_initial_state(), (0,) * self.params.seats)

    def role(self, state: State, player: int) -> str:
        """No roles."""
        return ""

    def instance_key(self, state: State) -> str:
        """The game and its actions so far, for a first state those of chance alone; later chance does not count."""
        assert isinstance(state, OpenSpielState)
        return f"{self.rules}:{' '.join(map(str, state.history))}"


def make_game(params: OpenSpielParams) -> OpenSpielGame:
    """A game of OpenSpiel.

    Raises:
        MachineError: OpenSpiel is not installed.
        UsageError: OpenSpiel has no such game, or not with these seats or options, or it cannot be played here.
    """
    try:
        import pyspiel
    except ImportError as error:
        raise MachineError(
            f"games of `open_spiel` need its extra: pip install 'gift-dsl[open_spiel]' ({error})"
        ) from error
    name = params.game
    if name.partition("(")[0] not in pyspiel.registered_names():
        raise UsageError(f"OpenSpiel has no game `{name}`{_close(name, pyspiel.registered_names())}")
    try:
        rules = pyspiel.load_game(name, params.options) if params.options else pyspiel.load_game(name)
    except pyspiel.SpielError as error:
        raise UsageError(f"OpenSpiel cannot make `{name}` with these options: {_first_line(error)}") from error
    if rules.get_type().dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS:
        rules = pyspiel.convert_to_turn_based(rules)
    problem = _problem(rules, params)
    if problem is not None:
        raise UsageError(f"OpenSpiel's `{name}` {problem}")
    return OpenSpielGame(params, rules)


def _problem(rules: Any, params: OpenSpielParams) -> str | None:
    """Why a game cannot be played here."""
    import pyspiel

    kind = rules.get_type()
    if kind.dynamics != pyspiel.GameType.Dynamics.SEQUENTIAL:
        return "has no players who take turns"
    if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC:
        return "draws its chance where no seed reaches it"
    if not (kind.provides_information_state_string or kind.provides_observation_string):
        return "has no text to show to a player"
    if rules.num_players() != params.seats:
        return f"has {rules.num_players()} seats with these options; `seats` says {params.seats}"
    return None


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _close(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(name, names, n=1)
    return f"; did you mean `{found[0]}`?" if found else ""


def _shown(position: Any, player: int) -> str:
    """OpenSpiel's text for a seat. Where nothing is hidden its board, for a memory of the moves has no picture."""
    kind = position.get_game().get_type()
    if kind.provides_observation_string and (_is_open(kind) or not kind.provides_information_state_string):
        return position.observation_string(player)
    return position.information_state_string(player)


def _is_open(kind: Any) -> bool:
    import pyspiel

    return kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION


def _tells_all(kind: Any) -> bool:
    """Whether OpenSpiel's text for a seat holds what the seat saw earlier, where that matters."""
    return _is_open(kind) or kind.provides_information_state_string


def _state(params: OpenSpielParams, seed: int, position: Any, turns: tuple[int, ...]) -> OpenSpielState:
    """The state of a position that is ours to change, once chance has made its draws."""
    num_drawn = sum(pair.player < 0 for pair in position.full_history())
    while position.is_chance_node():
        numbers, weights = zip(*position.chance_outcomes(), strict=True)
        position.apply_action(stream(seed, "open_spiel", num_drawn).choices(numbers, weights)[0])
        num_drawn += 1
    seat = -1 if position.is_terminal() else position.current_player()
    if seat >= 0 and turns[seat] >= params.horizon:
        seat = -1
    return OpenSpielState(params, seed, tuple(position.history()), turns, seat, position)
