"""The rules of matrix games: what is asked, which actions are right, and what makes two instances the same."""

import re
from dataclasses import fields, replace
from fractions import Fraction
from itertools import permutations, product
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import GiftError
from gift_dsl.games.classic import CLASSIC
from gift_dsl.games.equilibria import (
    equilibrium_actions,
    expected_payoffs,
    extreme_equilibria,
    is_dominance_solvable,
    normalise,
    pure_equilibria,
)
from gift_dsl.games.game import Game
from gift_dsl.games.matrix import Bimatrix, ClassicGame, MatrixParams, RandomGames, build, check, facts
from gift_dsl.games.matrix_rules import MatrixObservation, MatrixState
from gift_dsl.games.matrix_sources import Source, exact
from gift_dsl.rng import stream

QUESTIONS = ("auto", "equilibrium", "best_response", "regret")
PERMUTES = ("none", "reverse", "full")
RANDOM_THREES = RandomGames(rows=3, columns=3, low=0, high=3)
VARIANTS = [
    *(MatrixParams(question=question, permute=permute) for question, permute in product(QUESTIONS, PERMUTES)),
    MatrixParams(random=RANDOM_THREES),
    MatrixParams(random=RANDOM_THREES, question="regret", labels="letters", scales=(1, 3)),
    MatrixParams(games=("duopoly", "chicken"), random=RandomGames(), question="best_response"),
]
LARGE = Bimatrix(
    row=tuple(tuple(float((5 * i + 3 * j * j) % 11) for j in range(12)) for i in range(9)),
    column=tuple(tuple(float((2 * i * i + 7 * j) % 13) for j in range(12)) for i in range(9)),
)
INSTANCES = st.tuples(st.sampled_from(VARIANTS), st.integers(0, 500))


def start(params, seed):
    game = build(params, ())
    return game, game.start(stream(seed, "instance"))


def own_table(state):
    """Payoffs of the player who is asked, own actions as rows, as they are shown."""
    return Source("", exact(state.row), exact(state.column)).own(state.role)


def grades(state):
    """What each action would be paid: 1 for a win, 0 for a loss."""
    outcomes = [state.apply(action).outcome()[0] for action in state.legal_actions()]
    return [outcome if isinstance(outcome, float) else {"win": 1.0, "loss": 0.0}[outcome] for outcome in outcomes]


def changed_looks(state, data):
    """The same instance with its rows and columns in another order and each player's payoffs mapped affinely."""
    rows = data.draw(st.permutations(range(len(state.row))))
    columns = data.draw(st.permutations(range(len(state.row[0]))))
    tables = []
    for table in (state.row, state.column):
        scale, shift = data.draw(st.integers(1, 7)), data.draw(st.integers(-50, 50))
        tables.append(tuple(tuple(scale * table[i][j] + shift for j in columns) for i in rows))
    others = columns if state.role == "row" else rows
    mix = None if state.mix is None else tuple(state.mix[k] for k in others)
    return replace(state, row=tables[0], column=tables[1], mix=mix)


# --- laws of every game


@given(INSTANCES)
def test_the_same_stream_starts_the_same_instance(instance):
    assert start(*instance)[1] == start(*instance)[1]


@given(INSTANCES)
def test_an_instance_is_a_value(instance):
    game, state = start(*instance)
    assert isinstance(game, Game)
    assert hash(state) == hash(start(*instance)[1])


@given(INSTANCES)
def test_one_action_ends_the_game_and_no_more_are_taken(instance):
    _, state = start(*instance)
    assert state.current_player == 0
    assert not state.is_terminal
    for action in state.legal_actions():
        end = state.apply(action)
        assert end.is_terminal
        assert end.current_player == -1
        assert end.legal_actions() == ()
        with pytest.raises(ValueError, match="illegal action"):
            end.apply(action)


@given(INSTANCES)
def test_only_own_actions_are_legal(instance):
    _, state = start(*instance)
    assert state.legal_actions() == state.observation(0).actions
    for action in ("", "0", str(len(state.legal_actions()) + 1), "Action 1", "1.0"):
        with pytest.raises(ValueError, match="illegal action"):
            state.apply(action)


@given(INSTANCES)
def test_there_is_no_outcome_before_the_action(instance):
    with pytest.raises(ValueError, match="not over"):
        start(*instance)[1].outcome()


@given(INSTANCES)
def test_an_observation_does_not_depend_on_which_actions_are_right(instance):
    _, state = start(*instance)
    other = replace(state, grades=tuple(1 - grade for grade in state.grades), source="elsewhere")
    assert state.observation(0) == other.observation(0)


def test_an_observation_has_the_variables_of_its_template():
    names = [field.name for field in fields(MatrixObservation)]
    assert names == ["rows", "columns", "payoffs", "role", "question", "opponent_mix", "actions"]


def test_an_observation_shows_the_table_and_the_stated_mix():
    state = MatrixState(
        source="own",
        rows=("1", "2"),
        columns=("1", "2", "3"),
        row=((1, 2, 3), (4, 5, 6)),
        column=((0, 0.5, 0), (1, 1, -1)),
        role="row",
        question="best_response",
        mix=(Fraction(1, 4), Fraction(3, 4), Fraction(0)),
        grades=(Fraction(0), Fraction(1)),
    )
    assert state.observation(0) == MatrixObservation(
        rows=("1", "2"),
        columns=("1", "2", "3"),
        payoffs=(((1, 0), (2, 0.5), (3, 0)), ((4, 1), (5, 1), (6, -1))),
        role="row",
        question="best_response",
        opponent_mix=(("1", "1/4"), ("2", "3/4"), ("3", "0")),
        actions=("1", "2"),
    )


# --- what is asked, and what is right


@given(INSTANCES)
def test_the_right_actions_are_a_proper_part_of_all_actions(instance):
    game, state = start(*instance)
    assert game.labels(state)
    assert game.labels(state) < set(state.legal_actions())


@given(INSTANCES)
def test_a_uniform_player_attains_the_chance_level(instance):
    game, state = start(*instance)
    assert game.chance(state) == pytest.approx(sum(grades(state)) / len(state.legal_actions()))


@given(INSTANCES)
def test_equilibrium_questions_accept_what_some_equilibrium_of_the_shown_table_plays(instance):
    game, state = start(*instance)
    if state.question == "equilibrium":
        tables = Source("", exact(state.row), exact(state.column)).tables
        right = equilibrium_actions(*tables, state.role)
        assert game.labels(state) == {state.legal_actions()[k] for k in right}
        assert state.observation(0).opponent_mix is None


@given(INSTANCES)
def test_other_questions_accept_the_best_responses_to_the_stated_mix(instance):
    game, state = start(*instance)
    if state.question != "equilibrium":
        values = expected_payoffs(own_table(state), state.mix)
        best = {action for action, value in zip(state.legal_actions(), values, strict=True) if value == max(values)}
        assert game.labels(state) == best
        assert sum(state.mix) == 1
        assert max(state.mix) < 1


@given(INSTANCES)
def test_regret_is_graded_from_the_worst_action_to_the_best(instance):
    _, state = start(*instance)
    if state.question == "regret":
        values = expected_payoffs(own_table(state), state.mix)
        spread = max(values) - min(values)
        assert grades(state) == [float(1 - (max(values) - value) / spread) for value in values]
        assert (min(grades(state)), max(grades(state))) == (0.0, 1.0)


@given(st.sampled_from(sorted(CLASSIC)), st.integers(0, 50))
def test_auto_asks_for_the_equilibrium_only_where_there_is_exactly_one(name, seed):
    _, state = start(MatrixParams(games=(name,)), seed)
    row, column = CLASSIC[name]
    alone = len(extreme_equilibria(row, column)) == 1 and len(pure_equilibria(row, column)) == 1
    assert state.question == ("equilibrium" if alone else "best_response")


def test_auto_asks_a_game_of_pure_conflict_for_a_best_response():
    pennies = Bimatrix(row=((1.0, 0.0), (0.0, 1.0)), column=((0.0, 1.0), (1.0, 0.0)))
    assert start(MatrixParams(matrices={"pennies": pennies}), 0)[1].question == "best_response"


def test_without_a_choice_of_games_those_are_drawn_that_can_be_asked():
    game = build(MatrixParams(question="equilibrium"), ())
    drawn = {game.start(stream(seed, "instance")).source for seed in range(200)}
    assert drawn == set(CLASSIC) - {"battle_of_the_sexes", "chicken", "stag_hunt"}


@given(INSTANCES)
def test_the_equilibrium_player_has_an_equilibrium_of_the_shown_table(instance):
    game, state = start(*instance)
    own, other = game.equilibrium_mix(state), game.equilibrium_mix(state, player=1)
    values = expected_payoffs(own_table(state), other)
    assert sum(own) == 1
    assert all(value == max(values) for value, share in zip(values, own, strict=True) if share > 0)


@given(INSTANCES)
def test_the_best_response_player_is_always_right(instance):
    game, state = start(*instance)
    actions = game.best_response_actions(state)
    assert actions
    assert set(actions) <= game.labels(state)
    assert state.apply(actions[0]).outcome() in (("win",), (1.0,))


# --- looks


@given(st.integers(0, 300), st.sampled_from(sorted(CLASSIC)))
def test_as_written_means_that_only_a_shift_is_left_to_chance(seed, name):
    _, state = start(MatrixParams(games=(name,), permute="none"), seed)
    shift = state.row[0][0] - CLASSIC[name][0][0][0]
    assert shift in (0, 100, -100)
    for shown, written in zip((state.row, state.column), CLASSIC[name], strict=True):
        assert shown == tuple(tuple(value + shift for value in line) for line in written)


def test_reverse_turns_rows_and_columns_independently():
    params = MatrixParams(games=("three_by_four",), permute="reverse", shifts=(0,))
    written = CLASSIC["three_by_four"][0]
    expected = {tuple(line[::columns] for line in written[::rows]) for rows, columns in product((1, -1), repeat=2)}
    assert {start(params, seed)[1].row for seed in range(60)} == expected


def test_full_permutation_reaches_every_order():
    params = MatrixParams(games=("prisoners_dilemma",), permute="full", shifts=(0,))
    assert len({start(params, seed)[1].row for seed in range(60)}) == 4


def test_each_player_has_its_own_scale():
    params = MatrixParams(games=("prisoners_dilemma",), permute="none", shifts=(0,), scales=(1, 2, 5))
    drawn = {start(params, seed)[1] for seed in range(100)}
    assert {(state.row[0][0] / 3, state.column[0][0] / 3) for state in drawn} == set(product((1, 2, 5), repeat=2))


def test_payoffs_are_read_as_they_are_written():
    tenths = Bimatrix(row=((0.1, 0.2), (0.3, 0.0)), column=((1.0, 2.0), (0.0, 2.5)))
    _, state = start(MatrixParams(matrices={"tenths": tenths}, permute="none", shifts=(0,), scales=(3,)), 0)
    assert state.row == ((0.3, 0.6), (0.9, 0))
    assert state.column == ((3, 6), (0, 7.5))
    assert isinstance(state.column[0][0], int)


def test_actions_are_named_by_numbers_or_letters():
    for labels, names in [("numbers", ("1", "2", "3")), ("letters", ("A", "B", "C"))]:
        _, state = start(MatrixParams(games=("iterated_dominance",), labels=labels), 0)
        assert state.rows == state.columns == state.legal_actions() == names


def test_the_role_is_drawn():
    drawn = [start(MatrixParams(), seed) for seed in range(100)]
    assert {game.role(state, 0) for game, state in drawn} == {"row", "column"}


def test_a_table_of_nine_by_twelve_is_asked_too():
    game, state = start(MatrixParams(matrices={"large": LARGE}), 0)
    assert len(state.legal_actions()) in (9, 12)
    assert game.instance_key(state)


# --- the key of an instance


@given(INSTANCES, st.data())
def test_orders_and_positive_affine_maps_keep_the_key(instance, data):
    game, state = start(*instance)
    assert game.instance_key(changed_looks(state, data)) == game.instance_key(state)


@st.composite
def small_games(draw):
    """Two-by-two and two-by-three games of few payoffs: many pairs of them are the same game in other looks."""
    columns = draw(st.sampled_from((2, 2, 3)))
    line = st.lists(st.integers(0, 2), min_size=columns, max_size=columns).map(tuple)
    return tuple(draw(st.tuples(line, line)) for _ in range(2))


def smallest_looks(game):
    """The smallest of all orders of a game with both players' payoffs mapped to begin at 0 and to have no divisor."""
    row, column = map(normalise, game)
    cells = [list(zip(a, b, strict=True)) for a, b in zip(row, column, strict=True)]
    return min(
        tuple(tuple(cells[i][j] for j in columns) for i in rows)
        for rows in permutations(range(len(row)))
        for columns in permutations(range(len(row[0])))
    )


@given(small_games(), small_games())
def test_two_games_have_one_key_exactly_when_they_are_one_game_in_other_looks(first, second):
    game, state = start(MatrixParams(games=("prisoners_dilemma",)), 0)
    keys = [game.instance_key(replace(state, row=row, column=column)) for row, column in (first, second)]
    assert (keys[0] == keys[1]) == (smallest_looks(first) == smallest_looks(second))


def test_role_question_and_mix_are_part_of_the_key():
    game, state = start(MatrixParams(games=("three_by_four",), question="best_response"), 0)
    flat = Fraction(1, len(state.mix))
    keys = [
        game.instance_key(other)
        for other in (
            state,
            replace(state, question="regret"),
            replace(state, mix=(flat,) * len(state.mix)),
            replace(state, question="equilibrium", mix=None),
            replace(state, role="column" if state.role == "row" else "row", question="equilibrium", mix=None),
        )
    ]
    assert len(set(keys)) == len(keys)


def test_the_taken_action_is_not_part_of_the_key():
    game, state = start(MatrixParams(), 0)
    assert game.instance_key(state.apply("1")) == game.instance_key(state)


# --- how many there are


@pytest.mark.parametrize(
    ("params", "size"),
    [
        (MatrixParams(question="equilibrium"), 12),
        (MatrixParams(games=("prisoners_dilemma",)), 2),
        (MatrixParams(games=("chicken",)), 10),
        (MatrixParams(random=RandomGames(high=1, property="no_pure")), 4),
        (MatrixParams(random=RandomGames()), None),
        (MatrixParams(matrices={"large": LARGE}, question="best_response"), None),
        (MatrixParams(random=RANDOM_THREES), None),
    ],
)
def test_the_family_size_is_the_number_of_keys(params, size):
    assert facts(params).family_size == size


@pytest.mark.parametrize(
    "params",
    [MatrixParams(), MatrixParams(question="equilibrium"), MatrixParams(random=RandomGames(high=1), question="regret")],
)
def test_no_more_keys_are_met_than_there_are(params):
    game = build(params, ())
    met = {game.instance_key(game.start(stream(seed, "instance"))) for seed in range(1500)}
    assert 0.7 * game.facts.family_size <= len(met) <= game.facts.family_size


def test_a_larger_table_makes_a_longer_prompt():
    small, large = (facts(MatrixParams(games=(name,))).prompt_tokens[0] for name in ("chicken", "duopoly"))
    random = facts(MatrixParams(games=("chicken",), random=RandomGames(rows=8, columns=8))).prompt_tokens[0]
    assert small < large < random


# --- random games


@pytest.mark.parametrize(
    ("wanted", "holds"),
    [
        ("unique_pure", lambda row, column: len(pure_equilibria(row, column)) == 1),
        ("several_pure", lambda row, column: len(pure_equilibria(row, column)) > 1),
        ("no_pure", lambda row, column: len(pure_equilibria(row, column)) == 0),
        ("dominance_solvable", is_dominance_solvable),
    ],
)
def test_random_games_have_the_stated_property(wanted, holds):
    params = MatrixParams(random=RandomGames(rows=2, columns=3, low=-5, high=5, property=wanted))
    for seed in range(40):
        _, state = start(params, seed)
        assert (len(state.row), len(state.row[0])) == (2, 3)
        assert holds(state.row, state.column)


def test_random_payoffs_stay_in_their_range():
    params = MatrixParams(random=RandomGames(low=-5, high=5), shifts=(0,))
    values = {value for seed in range(100) for line in start(params, seed)[1].row for value in line}
    assert values == set(range(-5, 6))


def test_a_property_that_no_game_has_is_named():
    """In a two-by-two game without a pure equilibrium both players mix, so that every action is right."""
    game = build(MatrixParams(random=RandomGames(property="no_pure"), question="equilibrium"), ())
    with pytest.raises(GiftError, match=r"10000 random 2 x 2 games .* `property: no_pure`"):
        game.start(stream(0, "instance"))


def test_random_games_stand_beside_named_ones():
    params = MatrixParams(games=("chicken", "duopoly"), random=RandomGames())
    assert {start(params, seed)[1].source for seed in range(60)} == {"chicken", "duopoly", "random"}


# --- parameters


def test_the_classic_games_are_those_that_a_spec_may_name():
    assert tuple(CLASSIC) == get_args(ClassicGame)
    for row, column in CLASSIC.values():
        assert [len(line) for line in row] == [len(line) for line in column]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (MatrixParams(matrices={"odd": Bimatrix(row=((1.0, 2.0),), column=((1.0,),))}), "`matrices.odd`.*same shape"),
        (MatrixParams(matrices={"odd": Bimatrix(row=((1.0, 2.0), (1.0,)), column=((1.0,) * 2,) * 2)}), "same shape"),
        (MatrixParams(random=RandomGames(low=3, high=3)), "`random.low` is 3"),
        (MatrixParams(games=("duopoly", "chicken"), question="equilibrium"), "`chicken` cannot be asked"),
        (MatrixParams(matrices={"flat": Bimatrix(row=((1.0, 1.0),), column=((2.0, 2.0),))}), "`flat` cannot be asked"),
    ],
)
def test_contradictions_are_named(params, words):
    assert re.search(words, check(params))


@given(INSTANCES)
def test_parameters_that_can_be_played_are_not_refused(instance):
    assert check(instance[0]) is None
