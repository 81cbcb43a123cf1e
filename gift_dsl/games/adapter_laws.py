"""Which laws the adapters keep and which they break, found by playing named games of theirs.

Foreign rules are not ours to mend, so adapters are exempt from the laws and list what they break. Beside the suite of
`laws` there are a few more here, on promises that every game of ours keeps by the way it is written.

The tables of docs/adapters.md are what `law_table` returns; a test compares them.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from types import MappingProxyType
from typing import Any, Final, Literal

from gift_dsl.games.families import get_family
from gift_dsl.games.game import FreeText, Game, GameFacts, State
from gift_dsl.games.laws import check_game, random_play
from gift_dsl.games.params import make_params
from gift_dsl.rng import stream

_SEEDS: Final = range(4)
# Of plays that are looked at once.
_MORE_SEEDS: Final = range(20)
_NUM_STARTS: Final = 300
# A first observation that was seen so often would have been seen with another instance, if one can have it.
_OFTEN: Final = 6
_LONG: Final = 500

Hidden = Literal["nothing", "start", "moves"]
"""What seats do not see of the first moments: nothing, something of the instance, or the action of who acts first."""


@dataclass(frozen=True, slots=True)
class NamedGame:
    """A game that an adapter is known to play.

    Attributes:
        name: in tables.
        params: of the family.
        hidden: what its rules hide.
        moves: texts that its rules understand, where they cannot be listed.
    """

    name: str
    params: Mapping[str, Any]
    hidden: Hidden = "nothing"
    moves: tuple[str, ...] = ()


def _textarena(env: str, seats: int, moves: tuple[str, ...], hidden: Hidden = "nothing") -> NamedGame:
    return NamedGame(env, {"env": env, "seats": seats}, hidden, moves)


def _open_spiel(game: str, hidden: Hidden = "nothing") -> NamedGame:
    return NamedGame(game, {"game": game}, hidden)


def _numbers(low: int, high: int) -> tuple[str, ...]:
    return tuple(f"[{number}]" for number in range(low, high + 1))


NAMED: Final[Mapping[str, tuple[NamedGame, ...]]] = MappingProxyType(
    {
        "textarena": (
            _textarena("TicTacToe-v0", 2, _numbers(0, 8)),
            _textarena("ConnectFour-v0", 2, _numbers(0, 6)),
            _textarena("Nim-v0", 2, tuple(f"[{pile} {number}]" for pile in range(3) for number in range(1, 6))),
            _textarena("KuhnPoker-v0", 2, ("[check]", "[bet]", "[call]", "[fold]"), "start"),
            _textarena(
                "LiarsDice-v0-small",
                2,
                ("[Call]", *(f"[Bid: {number}, {face}]" for number in range(1, 7) for face in range(1, 7))),
                "start",
            ),
            _textarena("PigDice-v0", 2, ("[roll]", "[hold]")),
            _textarena("IteratedRockPaperScissors-v0", 2, ("[rock]", "[paper]", "[scissors]"), "moves"),
            _textarena("GameOfPureStrategy-v0", 2, ("[A]", *_numbers(2, 10), "[J]", "[Q]", "[K]"), "moves"),
            _textarena(
                "SimpleNegotiation-v0", 2, ("[Offer: 1 Wheat -> 1 Ore]", "[Accept]", "[Deny]", "Your Wood?"), "start"
            ),
            _textarena("ThreePlayerTicTacToe-v0", 3, _numbers(0, 24)),
            _textarena("GuessTheNumber-v0", 1, _numbers(1, 20), "start"),
            _textarena("Mastermind-v0", 1, tuple(f"[{' '.join(code)}]" for code in permutations("123456", 4)), "start"),
            _textarena("Blackjack-v0", 1, ("[Hit]", "[Stand]"), "start"),
            _textarena("TowerOfHanoi-v0", 1, tuple(f"[{' '.join(pair)}]" for pair in permutations("ABC", 2))),
        ),
        "open_spiel": (
            _open_spiel("tic_tac_toe"),
            _open_spiel("connect_four"),
            _open_spiel("nim"),
            _open_spiel("breakthrough"),
            _open_spiel("pig"),
            _open_spiel("kuhn_poker", "start"),
            _open_spiel("leduc_poker", "start"),
            _open_spiel("liars_dice", "start"),
            _open_spiel("matrix_rps", "moves"),
            _open_spiel("matrix_pd", "moves"),
            _open_spiel("blotto", "moves"),
            _open_spiel("goofspiel", "moves"),
        ),
    }
)
"""Games by family. None of them needs a download."""


@dataclass(frozen=True, slots=True)
class PlayedGame:
    """A game of an adapter that the laws can play: where any text is legal, it names one that its rules take."""

    game: Game
    named: NamedGame

    @property
    def facts(self) -> GameFacts:
        """Of the adapter."""
        return self.game.facts

    def start(self, rng: random.Random) -> State:
        """Of the adapter."""
        return self.game.start(rng)

    def role(self, state: State, player: int) -> str:
        """Of the adapter."""
        return self.game.role(state, player)

    def instance_key(self, state: State) -> str:
        """Of the adapter."""
        return self.game.instance_key(state)

    def examples(self, state: State) -> tuple[str, ...]:
        """One move that the rules take here; any of the moves where they take none."""
        return (_example(self.named.moves, state),)


@dataclass(frozen=True, slots=True)
class LawRow:
    """What one game was found to keep.

    Attributes:
        name: of the game.
        seats: of the game.
        kept: names of laws.
        without_object: laws with nothing to look at in this game.
        broken: name of a law and how it was broken.
    """

    name: str
    seats: int
    kept: tuple[str, ...]
    without_object: tuple[str, ...]
    broken: tuple[tuple[str, str], ...]


def law_table(family: str) -> tuple[LawRow, ...]:
    """A row for each named game of an adapter; plays each of them some hundred times, in three processes.

    Raises:
        MachineError: the adapter's package is not installed.
    """
    first, second = (_plays_elsewhere(family, hash_seed) for hash_seed in (1, 2))
    same = {name: None if first[name] == second[name] else "another process plays another game" for name in first}
    return tuple(_row(family, named, same[named.name]) for named in NAMED[family])


def play_digests(family: str) -> dict[str, str]:
    """For each named game a digest of all that was said and paid in some random plays."""
    return {named.name: _digest(_played(family, named)) for named in NAMED[family]}


def table_text(rows: tuple[LawRow, ...]) -> str:
    """The rows as a Markdown table."""
    lines = ["| game | seats | kept | does not apply | broken |", "|---|---|---|---|---|"]
    for row in rows:
        broken = "<br>".join(f"`{law}`: {problem}" for law, problem in row.broken) or "none"
        kept = f"{len(row.kept)} of {len(row.kept) + len(row.broken)}"
        idle = ", ".join(f"`{law}`" for law in row.without_object) or "none"
        lines.append(f"| `{row.name}` | {row.seats} | {kept} | {idle} | {broken} |")
    return "\n".join(lines) + "\n"


def with_tables(page: str) -> str:
    """A page with the table of each adapter put where the page has `<!-- laws: family -->` and `<!-- end -->`."""
    for family in NAMED:
        table = table_text(law_table(family))
        head, mark, rest = page.partition(f"<!-- laws: {family} -->\n")
        page = head + mark + table + rest[rest.index("<!-- end -->") :]
    return page


def _played(family: str, named: NamedGame, **more: int) -> PlayedGame:
    found = get_family(family)
    return PlayedGame(found.build(make_params(found.params, {**named.params, **more}), ()), named)


def _row(family: str, named: NamedGame, elsewhere: str | None) -> LawRow:
    game = _played(family, named)
    findings = {found.law: found.problem for found in check_game(game, _SEEDS) if found.applies}
    idle = {found.law for found in check_game(game, range(0)) if not found.applies}
    idle |= {"unseen"} if named.hidden == "nothing" else set()
    idle |= {"adds up"} if game.facts.seats == 1 else set()
    findings |= {law: _first_problem(problem, game) for law, problem in MORE_LAWS.items() if law not in idle}
    findings["processes"] = elsewhere
    findings["by itself"] = _ends_by_itself(game, _played(family, named, horizon=_LONG))
    return LawRow(
        name=named.name,
        seats=game.facts.seats,
        kept=tuple(law for law, problem in findings.items() if problem is None),
        without_object=tuple(sorted(idle)),
        broken=tuple((law, problem) for law, problem in findings.items() if problem is not None),
    )


def _first_problem(problem: Callable[[PlayedGame, int], str | None], game: PlayedGame) -> str | None:
    return next((found for seed in _MORE_SEEDS if (found := problem(game, seed)) is not None), None)


def _plays_elsewhere(family: str, hash_seed: int) -> dict[str, str]:
    """`play_digests` of a process of its own, in which sets are in another order."""
    code = f"import json; from gift_dsl.games.adapter_laws import play_digests as d; print(json.dumps(d({family!r})))"
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    digests: dict[str, str] = json.loads(done.stdout)
    return digests


def _digest(game: PlayedGame) -> str:
    return hashlib.blake2b(repr([list(_said(game, seed)) for seed in _SEEDS]).encode(), digest_size=16).hexdigest()


def _said(game: PlayedGame, seed: int) -> Iterator[object]:
    state = None
    for state, action in random_play(game, seed):
        yield (action, *(state.observation(player) for player in range(game.facts.seats)))
    yield state.outcome() if state is not None and state.is_terminal else None


@lru_cache(maxsize=20_000)
def _example(moves: tuple[str, ...], state: State) -> str:
    """The laws look at the same plays again and again, and each try of a move copies an environment."""
    shuffled = list(moves)
    stream(0, "adapter_laws", repr(state)).shuffle(shuffled)
    return next((move for move in shuffled if not _is_refused(state, move)), shuffled[0])


def _is_refused(state: State, move: str) -> bool:
    """Whether the rules call a move invalid: TextArena says so to the player, in words that never change."""
    following = state.apply(move)
    return "attempted an invalid move" in getattr(following.observation(state.current_player), "text", "")


def _listed(game: PlayedGame, seed: int) -> str | None:
    listed = not isinstance(game.start(stream(seed, "laws", "start")).legal_actions(), FreeText)
    return None if listed else "any text is a turn"


def _split(game: PlayedGame, seed: int) -> str | None:
    return "held-out: none" if game.facts.family_size == 1 else None


def _adds_up(game: PlayedGame, seed: int) -> str | None:
    end = list(random_play(game, seed))[-1][0]
    grades = [float(grade) for grade in end.outcome()] if end.is_terminal else []
    if not grades or abs(sum(grades) - len(grades) / 2) < 1e-9:
        return None
    return f"the grades {', '.join(f'{grade:g}' for grade in grades)} were given"


def _unseen(game: PlayedGame, seed: int) -> str | None:
    if seed > 0:
        return None
    return _moves_unseen(game) if game.named.hidden == "moves" else _start_unseen(game)


def _moves_unseen(game: PlayedGame) -> str | None:
    """Whatever the first player does, the one who acts next is shown the same."""
    state = game.start(stream(0, "laws", "start"))
    legal = state.legal_actions()
    following = [state.apply(move) for move in (game.named.moves if isinstance(legal, FreeText) else legal)]
    shown = {repr(after.observation(after.current_player)) for after in following}
    seats = {after.current_player for after in following} - {state.current_player}
    return None if len(shown) == len(seats) == 1 else "the action of the first shows before the second acts"


def _start_unseen(game: PlayedGame) -> str | None:
    """No seat can tell from its first observation which instance it is in."""
    states = [game.start(stream(number, "laws", "start")) for number in range(_NUM_STARTS)]
    for player in range(game.facts.seats):
        keys: defaultdict[str, list[str]] = defaultdict(list)
        for state in states:
            keys[repr(state.observation(player))].append(game.instance_key(state))
        if len({key for found in keys.values() for key in found}) < 2:
            return "there is one instance only"
        if any(len(found) >= _OFTEN and len(set(found)) < 2 for found in keys.values()):
            return f"what seat {player} is shown gives the instance away"
    return None


def _ends_by_itself(game: PlayedGame, longer: PlayedGame) -> str | None:
    """Its own rules end every play within the declared turns."""
    for seed in _SEEDS:
        turns = [0] * game.facts.seats
        for state, action in random_play(longer, seed):
            if action is not None:
                turns[state.current_player] += 1
        most = max(range(len(turns)), key=lambda seat: turns[seat])
        if turns[most] > game.facts.max_turns[most]:
            return f"a random play takes {turns[most]} turns of a seat, and is cut at {game.facts.max_turns[most]}"
    return None


MORE_LAWS: Final[Mapping[str, Callable[[PlayedGame, int], str | None]]] = MappingProxyType(
    {"listed": _listed, "unseen": _unseen, "adds up": _adds_up, "split": _split}
)
"""How a game breaks one in the play of a seed. Two more compare processes and longer plays: see `law_table`."""
