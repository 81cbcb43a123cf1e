"""One suite of laws over every game, and mutants that each break one of them."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.games.build import build
from gift_dsl.games.families import get_family
from gift_dsl.games.game import FreeText, GameFacts
from gift_dsl.games.laws import LAWS, check_game, random_play
from gift_dsl.games.params import make_params
from gift_dsl.games.splits import draw_instance, split_of
from gift_dsl.play.keys import Keys
from gift_dsl.play.parse import read_action
from tests.play.scripted import game_plan


def game_of(family, **params):
    found = get_family(family)
    return found.build(make_params(found.params, params), ())


SUM = {"operators": ["+"], "low": 0, "high": 99, "terms": 2}
GAMES = {
    "tictactoe": game_of("board", openings="balanced"),
    "tictactoe-empty": game_of("board", win_text="random"),
    "connect-four": game_of("board", height=6, width=7, connect=4, gravity=True, openings="balanced"),
    "gomoku": game_of("board", height=9, width=9, connect=5, openings="balanced"),
    "matrix": game_of("matrix_games"),
    "matrix-regret": game_of("matrix_games", question="regret", labels="letters", scales=[1, 2]),
    "matrix-random": game_of("matrix_games", games=[], random={"rows": 3, "columns": 4, "property": "unique_pure"}),
    "spy": game_of("whos_the_spy"),
    "spy-three": game_of("whos_the_spy", players=3, rounds=1, secret_word="allow"),
    "arithmetic": game_of("question", kind="number", generate=SUM),
}
seeds = st.integers(0, 2**31)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("name", GAMES)
@settings(max_examples=8)
@given(seed=seeds)
def test_every_game_keeps_every_law(name, law, seed):
    game = GAMES[name]
    if law.applies(game):
        assert law.problem(game, seed) is None


def test_the_game_with_secrets_says_what_they_are():
    hidden = next(law for law in LAWS if law.name == "hidden")
    assert {name for name, game in GAMES.items() if hidden.applies(game)} == {"spy", "spy-three"}


@pytest.mark.parametrize("name", GAMES)
@settings(max_examples=8)
@given(seed=seeds)
def test_every_legal_action_is_read_as_itself(name, seed):
    for state, action in random_play(GAMES[name], seed):
        legal = state.legal_actions()
        if action is not None and not isinstance(legal, FreeText):
            assert [read_action(one, legal) for one in legal] == list(legal)


@pytest.mark.parametrize("name", ["gomoku", "matrix-random", "spy", "arithmetic"])
def test_training_and_evaluation_meet_different_instances(name):
    """250 steps of 2 groups of training, warm-up data included, and 10 seeds of evaluation on each split."""
    game = GAMES[name]

    def keys(split, seed, root=(), steps=1, groups=20):
        for step in range(steps):
            place = Keys(seed, split, "stage", step, root)
            for group in range(groups):
                state = draw_instance(game, place.stream("instance", group, name, 0), split)
                yield game.instance_key(state)

    trained = {*keys("train", 10_000, steps=250, groups=2), *keys("train", 3, steps=20, groups=2)}
    dev, test = ({key for seed in range(10) for key in keys(split, seed, ("eval",))} for split in ("dev", "test"))
    assert len(trained) > 20
    assert dev
    assert test
    assert not trained & dev
    assert not trained & test
    assert not dev & test


def test_a_split_depends_on_the_key_alone():
    shares = [split_of(f"key {number}") for number in range(2000)]
    assert 0.75 < shares.count("train") / 2000 < 0.85
    assert 0.07 < shares.count("dev") / 2000 < 0.13
    assert split_of("key 1") == split_of("key 1")


def test_a_game_is_built_from_the_plain_values_of_its_plan():
    plan = game_plan("sums", family="question", params={"kind": "number", "generate": SUM})
    game = build(plan)
    assert game.facts == GAMES["arithmetic"].facts
    assert game.start(random.Random(1)) == GAMES["arithmetic"].start(random.Random(1))
    nested = build(
        game_plan(
            "m",
            family="matrix_games",
            params={"matrices": {"pd": {"row": [[3, 0], [5, 1]], "column": [[3, 5], [0, 1]]}}},
        )
    )
    assert nested.start(random.Random(1)).source == "pd"


def test_rows_reach_the_game():
    dataset = {"source": "./rows"}
    plan = game_plan("q", family="question", params={"kind": "text", "dataset": dataset})
    rows = [{"question": "Capital of France?", "answer": "Paris"}]
    assert build(plan, rows).start(random.Random(1)).item.gold == "Paris"


@dataclass(frozen=True)
class NimObservation:
    """The heap, and what may be taken by who acts."""

    heap: int
    legal: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True)
class NimState:
    """Who takes the last stone wins; the secret is nobody's to see."""

    heap: int
    turn: int = 0
    secret: str = "pineapple"

    @property
    def is_terminal(self):
        return self.heap == 0

    @property
    def current_player(self):
        return -1 if self.is_terminal else self.turn % 2

    def legal_actions(self):
        return tuple(str(number) for number in range(1, min(2, self.heap) + 1))

    def observation(self, player):
        return NimObservation(self.heap, self.legal_actions() if player == self.current_player else ())

    def apply(self, action):
        if action not in self.legal_actions():
            raise ValueError(f"illegal action {action!r}")
        return replace(self, heap=self.heap - int(action), turn=self.turn + 1)

    def outcome(self):
        if not self.is_terminal:
            raise ValueError("not over")
        return ("win", "loss") if self.turn % 2 == 1 else ("loss", "win")


@dataclass(frozen=True)
class Nim:
    """A sample game that keeps every law."""

    facts = GameFacts(2, (4, 3), False, False, True)
    state = NimState

    def start(self, rng):
        return self.state(rng.randint(4, 7))

    def role(self, state, player):
        return ""

    def instance_key(self, state):
        return f"nim {state.heap}"

    def hidden(self, state, player):
        return (state.secret,)


def test_a_game_that_keeps_every_law_is_found_without_a_problem():
    findings = check_game(Nim(), range(20))
    assert [finding.law for finding in findings] == [law.name for law in LAWS]
    assert all(finding.applies and finding.problem is None for finding in findings)


def with_state(**changed):
    """A game whose states have other methods."""
    return type("Mutant", (Nim,), {"state": dataclass(frozen=True)(type("MutantState", (NimState,), changed))})()


def with_game(**changed):
    return type("Mutant", (Nim,), changed)()


def with_facts(**changed):
    return with_game(facts=replace(Nim.facts, **changed))


def _thawed():
    @dataclass
    class State:
        heap: int
        turn: int = 0
        secret: str = ""
        is_terminal, current_player = NimState.is_terminal, NimState.current_player
        legal_actions, observation, outcome = NimState.legal_actions, NimState.observation, NimState.outcome
        apply = NimState.apply

    return with_game(state=State)


def _changing(self, action):
    if action not in self.legal_actions():
        raise ValueError
    object.__setattr__(self, "heap", self.heap - int(action))
    object.__setattr__(self, "turn", self.turn + 1)
    return self


def _observing(**fields):
    return lambda self, player: replace(NimState.observation(self, player), **fields)


def _taking_one(self, action):
    if not self.heap:
        raise ValueError
    return replace(self, heap=self.heap - 1, turn=self.turn + 1)


COUNTER = iter(range(10**9))
MUTANTS = {
    "facts": with_facts(max_turns=(4,)),
    "stream": with_game(start=lambda self, rng: NimState(4, turn=2 * next(COUNTER))),
    "chance": with_game(start=lambda self, rng: NimState(random.randint(4, 7) * 0 + 5)),  # noqa: TID251
    "keys": with_game(instance_key=lambda self, state: ""),
    "values": _thawed(),
    "seats": with_facts(seats=1, max_turns=(7,), zero_sum=False),
    "roles": with_game(role=lambda self, state, player: "spy"),
    "observations": with_state(observation=_observing(note=random.Random(1))),
    "hidden": with_state(observation=_observing(note="it is a Pine-apple")),
    "shown": with_state(observation=_observing(legal=("1",))),
    "legal": with_state(legal_actions=lambda self: (*NimState.legal_actions(self), "1") if self.heap else ()),
    "illegal": with_state(apply=lambda self, action: NimState.apply(self, action if action in "12" else "1")),
    "horizon": with_facts(max_turns=(1, 1)),
    "end": with_state(legal_actions=lambda self: NimState.legal_actions(self) or ("pass",)),
    "result": with_state(outcome=lambda self: ("win", "loss")),
    "outcomes": with_state(outcome=lambda self: NimState.outcome(self)[:1]),
    "zero-sum": with_state(outcome=lambda self: NimState.outcome(self) and ("win", "win")),
}


@pytest.mark.parametrize("law", [law.name for law in LAWS])
def test_each_law_finds_the_mutant_that_breaks_it(law):
    findings = {finding.law: finding for finding in check_game(MUTANTS[law], range(20))}
    assert findings[law].problem
    assert findings[law].seed is not None


SENTENCES = {
    "keyless": (with_game(instance_key=lambda self, state: f"{next(COUNTER)}"), "stream", "one state has two keys"),
    "moody": (
        with_state(apply=lambda self, action: replace(NimState.apply(self, action), secret=f"{next(COUNTER)}")),
        "values",
        "gave two different states",
    ),
    "loose": (
        with_state(observation=lambda self, player: {"heap": self.heap}),
        "observations",
        "is dict, not a frozen",
    ),
    "flickering": (
        with_state(observation=lambda self, player: _observing(note=f"{next(COUNTER)}")(self, player)),
        "observations",
        "two observations of one state",
    ),
    "mapped": (with_state(observation=_observing(note={"a": {1}})), "observations", "holds a set"),
    "changes": (with_state(apply=_changing), "values", "changed the state it was called on"),
    "endless": (with_state(is_terminal=property(lambda self: False)), "horizon", "IndexError"),
    "graded": (with_facts(graded=True), "outcomes", "declared: numbers in [0, 1]"),
    "draws": (with_state(outcome=lambda self: NimState.outcome(self) and ("draw", "draw")), "outcomes", "a draw"),
    "late": (with_state(current_player=property(lambda self: self.turn % 2)), "end", "seat"),
    "open": (
        with_state(apply=lambda self, action: self if not self.heap else NimState.apply(self, action)),
        "end",
        "takes an action",
    ),
    "listed": (
        with_state(legal_actions=lambda self: FreeText() if self.heap else (), apply=_taking_one),
        "facts",
        "free text",
    ),
    "hides": (with_state(observation=_observing(legal=())), "shown", "instead of"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_a_finding_says_in_one_sentence_what_is_wrong(name):
    game, law, sentence = SENTENCES[name]
    findings = {finding.law: finding for finding in check_game(game, range(20))}
    assert sentence in findings[law].problem


def test_a_result_after_a_single_action_is_a_result_at_the_end():
    assert all(finding.problem is None for finding in check_game(GAMES["arithmetic"], range(5)))


def test_a_law_without_anything_to_look_at_says_so():
    findings = {finding.law: finding for finding in check_game(GAMES["matrix"], range(2))}
    assert (findings["zero-sum"].applies, findings["hidden"].applies) == (False, False)
