"""The laws of games: what every game keeps, whoever wrote it. Pure functions of a game and a seed.

`gift game test NAME` and tests/games/test_laws.py run the same suite. A law looks at one random play and says in one
sentence how it was broken, or nothing. Adapters to foreign libraries are exempt: they list what they break.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from gift_dsl.games.free_text import contains_word, reason_against
from gift_dsl.games.game import Action, FreeText, Game, Outcome, State
from gift_dsl.rng import stream

NO_ACTION: Final = "no action of any game \u2020"
# Said where any text is legal. They are no words, so they give away none.
_TEXTS: Final = ("42", "Hm.", "Zxq vbn.", "7 wqx")


@dataclass(frozen=True, slots=True)
class Law:
    """One law.

    Attributes:
        name: short, for tables.
        text: one sentence.
        problem: how a game breaks it in the random play of a seed; None where it does not.
        applies: whether there is anything to look at in this game.
    """

    name: str
    text: str
    problem: Callable[[Game, int], str | None]
    applies: Callable[[Game], bool] = lambda _game: True


@dataclass(frozen=True, slots=True)
class Finding:
    """A law and a game.

    Attributes:
        law: its name.
        applies: whether there was anything to look at.
        problem: how it was broken first; None where it was kept.
        seed: of the play that broke it.
    """

    law: str
    applies: bool
    problem: str | None = None
    seed: int | None = None


def check_game(game: Game, seeds: Iterable[int] = range(50)) -> tuple[Finding, ...]:
    """What is found about each law, looking at the plays of these seeds until it is broken."""
    numbers = tuple(seeds)
    return tuple(_find(law, game, numbers) for law in LAWS)


def _find(law: Law, game: Game, seeds: Iterable[int]) -> Finding:
    if not law.applies(game):
        return Finding(law.name, applies=False)
    for seed in seeds:
        try:
            problem = law.problem(game, seed)
        except Exception as error:  # noqa: BLE001 - a stranger's rules may raise anything, and that is a finding
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            return Finding(law.name, applies=True, problem=problem, seed=seed)
    return Finding(law.name, applies=True)


def random_play(game: Game, seed: int) -> Iterator[tuple[State, Action | None]]:
    """The states of one random play, each with the action taken there; None at the end.

    It stops one action after the declared horizon, so that a game without end can be looked at.
    """
    rng = stream(seed, "laws", "actions")
    state = game.start(stream(seed, "laws", "start"))
    for _ in range(sum(game.facts.max_turns) + 1):
        if state.is_terminal:
            break
        action = _any_action(game, state, rng)
        yield state, action
        state = state.apply(action)
    yield state, None


def _any_action(game: Game, state: State, rng: random.Random) -> Action:
    """A legal action. Where any text is legal, a game may have an `examples(state)` of those that mean something."""
    legal = state.legal_actions()
    if not isinstance(legal, FreeText):
        return rng.choice(legal)
    examples: Callable[[State], Sequence[str]] | None = getattr(game, "examples", None)
    texts = _TEXTS if examples is None else examples(state)
    return rng.choice([text for text in texts if reason_against(legal, text) is None])


def _last(game: Game, seed: int) -> State:
    return list(random_play(game, seed))[-1][0]


def _same_stream_same_game(game: Game, seed: int) -> str | None:
    first, second = (game.start(stream(seed, "laws", "start")) for _ in range(2))
    if first != second:
        return f"one stream gave two first states, {first!r} and {second!r}"
    if game.instance_key(first) != game.instance_key(second):
        return f"one state has two keys, {game.instance_key(first)!r} and {game.instance_key(second)!r}"
    return None


def _only_its_own_stream(game: Game, seed: int) -> str | None:
    before = random.getstate()  # noqa: TID251 - this looks for those who use the generator of the module
    _last(game, seed)
    return None if random.getstate() == before else "it draws from the global generator of `random`"  # noqa: TID251


def _states_are_values(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        if not _is_frozen(state):
            return f"{type(state).__name__} is not a frozen dataclass"
        if action is not None:
            before = repr(state)
            following = state.apply(action)
            if following is state or repr(state) != before:
                return f"`apply({action!r})` changed the state it was called on"
            if following != state.apply(action):
                return f"`apply({action!r})` gave two different states"
    return None


def _is_frozen(value: object) -> bool:
    parameters: Any = getattr(value, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


def _observations_are_values(game: Game, seed: int) -> str | None:
    for state, _ in random_play(game, seed):
        for player in range(game.facts.seats):
            observation = state.observation(player)
            if not _is_frozen(observation):
                return f"the observation of seat {player} is {type(observation).__name__}, not a frozen dataclass"
            if observation != state.observation(player):
                return f"seat {player} was shown two observations of one state"
            kind = next((type(value).__name__ for value in _leaves(observation) if not isinstance(value, _PLAIN)), None)
            if kind is not None:
                return f"the observation of seat {player} holds a {kind}; only text, numbers and lists can be worded"
    return None


_PLAIN: Final = (str, int, float, type(None))


def _leaves(value: object) -> Iterator[object]:
    """The values inside tuples, lists, maps and dataclasses."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _leaves(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]  # of any type
            yield from _leaves(item)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, tuple | list):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(item)  # pyright: ignore[reportUnknownArgumentType]
    else:
        yield value


def _legal_actions_are_legal(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        legal = state.legal_actions()
        if action is None or isinstance(legal, FreeText):
            continue
        if not legal or len(set(legal)) < len(legal) or not all(legal):
            return f"{legal!r} are not distinct, non-empty texts"
        for one in legal:
            state.apply(one)
    return None


def _other_actions_are_refused(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        legal = state.legal_actions()
        wrong = "" if isinstance(legal, FreeText) else NO_ACTION
        if action is not None and not _refuses(state, wrong):
            return f"`apply({wrong!r})` was accepted"
    return None


def _refuses(state: State, action: Action) -> bool:
    try:
        state.apply(action)
    except ValueError:
        return True
    return False


def _shown_to_who_acts(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        legal = state.legal_actions()
        for player in range(game.facts.seats):
            shown = getattr(state.observation(player), "legal", None)
            acts = action is not None and player == state.current_player
            if acts and shown is not None and not isinstance(legal, FreeText) and tuple(shown) != legal:
                return f"seat {player} acts and is shown {shown!r} instead of {legal!r}"
            if not acts and shown:
                return f"seat {player} does not act and is shown the legal actions {shown!r}"
    return None


def _nothing_hidden_is_shown(game: Game, seed: int) -> str | None:
    for state, _ in random_play(game, seed):
        for player in range(game.facts.seats):
            texts = [value for value in _leaves(state.observation(player)) if isinstance(value, str)]
            for secret in _hidden(game)(state, player):
                if any(contains_word(text, secret) for text in texts):
                    return f"seat {player} is shown {secret!r}, which is hidden from it"
    return None


def _hidden(game: Game) -> Callable[[State, int], Iterable[str]]:
    found: Callable[[State, int], Iterable[str]] = getattr(game, "hidden")  # noqa: B009 - not part of the protocol
    return found


def _seats_take_turns(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        seat = state.current_player
        if action is not None and not 0 <= seat < game.facts.seats:
            return f"seat {seat} acts, but there are {game.facts.seats} seats"
    return None


def _ends_within_its_horizon(game: Game, seed: int) -> str | None:
    turns = [0] * game.facts.seats
    state = None
    for state, action in random_play(game, seed):
        if action is not None:
            turns[state.current_player] += 1
    if state is None or not state.is_terminal:
        return f"after {sum(turns)} actions it is not over"
    over = [seat for seat, number in enumerate(turns) if number > game.facts.max_turns[seat]]
    return f"seat {over[0]} took {turns[over[0]]} turns; declared: {game.facts.max_turns[over[0]]}" if over else None


def _the_end_is_the_end(game: Game, seed: int) -> str | None:
    state = _last(game, seed)
    if state.current_player != -1:
        return f"the game is over, and seat {state.current_player} is to act"
    if state.legal_actions() != ():
        return f"the game is over, and {state.legal_actions()!r} are legal"
    return None if _refuses(state, NO_ACTION) else "the game is over, and `apply` takes an action"


def _outcomes_come_at_the_end(game: Game, seed: int) -> str | None:
    for state, action in random_play(game, seed):
        if action is None:
            break
        try:
            state.outcome()
        except ValueError:
            continue
        return "the game is not over, and `outcome` gives a result"
    return None


def _outcomes_are_what_was_declared(game: Game, seed: int) -> str | None:
    facts, outcomes = game.facts, _last(game, seed).outcome()
    if len(outcomes) != facts.seats:
        return f"{len(outcomes)} outcomes for {facts.seats} seats"
    for outcome in outcomes:
        if facts.graded != (not isinstance(outcome, str)) or not _is_outcome(outcome):
            declared = "numbers in [0, 1]" if facts.graded else "win, draw or loss"
            return f"the outcome {outcome!r}; declared: {declared}"
        if outcome == "draw" and not facts.can_draw:
            return "a draw, in a game that was declared to have none"
    return None


def _is_outcome(outcome: Outcome) -> bool:
    return outcome in ("win", "draw", "loss") if isinstance(outcome, str) else 0 <= outcome <= 1


def _a_win_is_a_loss(game: Game, seed: int) -> str | None:
    outcomes = _last(game, seed).outcome()
    wins = [outcome for outcome in outcomes if outcome == "win"]
    others = {outcome for outcome in outcomes if outcome != "win"}
    fair = others == {"loss"} if len(wins) == 1 else not wins and others == {"draw"}
    return None if fair else f"the outcomes {outcomes!r} are not one win and losses, or draws"


def _roles_are_declared(game: Game, seed: int) -> str | None:
    state, facts = game.start(stream(seed, "laws", "start")), game.facts
    for player in range(facts.seats):
        role = game.role(state, player)
        if role not in (facts.roles or ("",)):
            return f"seat {player} has the role {role!r}; declared: {facts.roles!r}"
    return None


def _keys_name_instances(game: Game, seed: int) -> str | None:
    key = game.instance_key(game.start(stream(seed, "laws", "start")))
    return None if isinstance(key, str) and key else f"the instance key {key!r} is not a text"  # pyright: ignore[reportUnnecessaryIsInstance]  # of a stranger


def _facts_fit(game: Game, seed: int) -> str | None:
    facts = game.facts
    if len(facts.max_turns) != facts.seats or facts.seats < 1:
        return f"{len(facts.max_turns)} horizons for {facts.seats} seats"
    listed = {not isinstance(state.legal_actions(), FreeText) for state, action in random_play(game, seed) if action}
    if facts.actions == "listed" and False in listed:
        return "actions are declared to be listed, and free text is legal"
    return None if game.facts == facts else "the facts changed"


def _is_hiding(game: Game) -> bool:
    return hasattr(game, "hidden")


LAWS: Final[tuple[Law, ...]] = (
    Law("facts", "What is declared fits together and does not change.", _facts_fit),
    Law("stream", "The same stream starts the same game, with the same key.", _same_stream_same_game),
    Law("chance", "No chance comes from anywhere but the stream it is started with.", _only_its_own_stream),
    Law("keys", "Every instance has a canonical key.", _keys_name_instances),
    Law("values", "States are frozen; an action makes a new state and changes none.", _states_are_values),
    Law("seats", "The seat that acts is one of the seats.", _seats_take_turns),
    Law("roles", "Every seat has a declared role, or none where none is declared.", _roles_are_declared),
    Law("observations", "An observation is a frozen dataclass of what can be worded.", _observations_are_values),
    Law("hidden", "No observation holds what is hidden from its player.", _nothing_hidden_is_shown, _is_hiding),
    Law("shown", "Legal actions are shown to the player who acts, and to no other.", _shown_to_who_acts),
    Law("legal", "Every legal action can be taken.", _legal_actions_are_legal),
    Law("illegal", "Every other action is refused.", _other_actions_are_refused),
    Law("horizon", "A play ends within the declared number of turns of each seat.", _ends_within_its_horizon),
    Law("end", "A game that is over takes no action.", _the_end_is_the_end),
    Law("result", "There is a result at the end and not before.", _outcomes_come_at_the_end),
    Law("outcomes", "Each seat has one outcome of the declared kind.", _outcomes_are_what_was_declared),
    Law("zero-sum", "One seat's win is the loss of all others.", _a_win_is_a_loss, lambda game: game.facts.zero_sum),
)
