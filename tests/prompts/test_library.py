"""The shipped wordings: found by name, inside the allow-list, complete, and telling no secret."""

import subprocess
import sys
from pathlib import Path

import pytest

from gift_dsl.errors import UsageError
from gift_dsl.prompts import VARIABLES, check_template, load_template, render_prompt, shipped_templates, variables_of

GOLDEN = Path(__file__).parent / "golden"
TEMPLATES = shipped_templates()
GAMES = ("board", "matrix_games", "question", "whos_the_spy")

FIRST = {"turn": 1, "turns_left": 5, "player": 2, "retry_reason": None, "penalty": None, "feedback": None}
LATER = FIRST | {"turn": 2, "turns_left": 4}
RETRY = FIRST | {"retry_reason": "no <answer> tag", "penalty": "-0.1", "feedback": "The game before was a draw."}

TICTACTOE = {
    "cells": ((".", ".", "O"), (".", "X", "."), (".", ".", ".")),
    "height": 3,
    "width": 3,
    "connect": 3,
    "gravity": False,
    "mark": "X",
    "opponent_mark": "O",
    "legal": tuple("1246789"),
    "last_action": "3",
    "win_text": True,
    "name": "TicTacToe",
}
CONNECT_FOUR = TICTACTOE | {
    "cells": ((".",) * 7,) * 5 + ((".", "X", ".", "O", ".", ".", "."),),
    "height": 6,
    "width": 7,
    "connect": 4,
    "gravity": True,
    "mark": "O",
    "opponent_mark": "X",
    "legal": tuple("1234567"),
    "last_action": "2",
    "name": "Connect Four",
}
GOMOKU = TICTACTOE | {
    "cells": ((".",) * 11,) * 10 + ((".",) * 9 + ("O", "X"),),
    "height": 11,
    "width": 11,
    "connect": 5,
    "legal": ("1,1", "1,2", "11,9"),
    "last_action": None,
    "win_text": False,
    "name": "Gomoku",
}
DILEMMA = {
    "rows": ("1", "2"),
    "columns": ("1", "2"),
    "payoffs": (((3, 3), (0, 5)), ((5, 0), (1, 1.5))),
    "role": "row",
    "question": "equilibrium",
    "opponent_mix": None,
    "actions": ("1", "2"),
}
THREE_BY_TWO = DILEMMA | {
    "rows": ("A", "B", "C"),
    "columns": ("D", "E"),
    "payoffs": (((5.0, 1), (4, 0)), ((6, 3), (3, 1)), ((6, 4), (4, -2))),
    "role": "column",
    "question": "best_response",
    "opponent_mix": (("A", "1/6"), ("B", "1/3"), ("C", "1/2")),
    "actions": ("D", "E"),
}
DESCRIBE = {
    "phase": "describe",
    "round": 1,
    "rounds": 2,
    "players": (1, 2, 3, 4),
    "word": "violin",
    "clues": (((1, "It has strings."),),),
    "secret_word": "forbid",
    "legal": (),
}
DESCRIBE_AGAIN = DESCRIBE | {
    "round": 2,
    "clues": (
        ((1, "It has strings."), (2, "One holds it up."), (3, "Played in orchestras."), (4, "Made of wood.")),
        ((1, "A bow goes with it."),),
    ),
    "secret_word": "allow",
}
VOTE = DESCRIBE_AGAIN | {
    "phase": "vote",
    "clues": (
        DESCRIBE_AGAIN["clues"][0],
        ((1, "A bow goes with it."), (2, "Small."), (3, "One sits at it."), (4, "{{ word }}")),
    ),
    "legal": ("1", "3", "4"),
}
EXAMPLES = {
    "answer_tag": {
        "think": {"think": True, "max_tokens": 600, "tag": "answer"},
        "think, no limit": {"think": True, "max_tokens": None, "tag": "answer"},
        "no think": {"think": False, "max_tokens": None, "tag": "answer"},
    },
    "board": {
        "first turn": FIRST | TICTACTOE,
        "later turn": LATER | TICTACTOE,
        "retry": RETRY | TICTACTOE,
        "with gravity": FIRST | CONNECT_FOUR,
        "large": FIRST | GOMOKU,
    },
    "matrix_games": {
        "equilibrium": FIRST | DILEMMA,
        "best response": FIRST | THREE_BY_TWO,
        "regret": FIRST | THREE_BY_TWO | {"question": "regret", "opponent_mix": (("A", "1"),)},
        "retry": RETRY | DILEMMA,
    },
    "question": {
        "math": FIRST | {"question": "What is $2 \\cdot 3$?", "kind": "math", "choices": ()},
        "number": FIRST | {"question": "5 + 3", "kind": "number", "choices": ()},
        "choice": FIRST
        | {"question": "Which one swims?", "kind": "choice", "choices": (("A", "a stone"), ("B", "a trout"))},
        "text": FIRST | {"question": "What is the capital of Peru?", "kind": "text", "choices": ()},
        "retry": RETRY | {"question": "5 + 3", "kind": "math", "choices": ()},
    },
    "system": {"always": {}},
    "whos_the_spy": {
        "first description": FIRST | DESCRIBE,
        "first description, word allowed": FIRST | DESCRIBE | {"clues": ((),), "secret_word": "allow"},
        "second description": LATER | DESCRIBE_AGAIN,
        "vote": FIRST | {"turn": 3, "turns_left": 3} | VOTE,
        "retry": RETRY | DESCRIBE,
    },
}
CASES = [(name, case) for name in TEMPLATES for case in EXAMPLES[name.partition(".")[0]]]


def rendered(name: str, case: str) -> str:
    return render_prompt(load_template(name), EXAMPLES[name.partition(".")[0]][case])


def test_each_family_has_its_wordings():
    wordings = [f"{game}{kind}" for game in GAMES for kind in ("", ".compact")]
    wordings += [f"{game}.2" for game in GAMES if game != "question"]
    assert sorted([*wordings, "answer_tag", "answer_tag.compact", "system"]) == list(TEMPLATES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_shipped_template_passes_the_check(name):
    assert check_template(load_template(name), variables_of(name)) == []


def test_the_examples_hold_just_the_declared_variables():
    for family, examples in EXAMPLES.items():
        assert {frozenset(values) for values in examples.values()} == {VARIABLES[family]}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_shipped_template_renders_as_the_golden_file(name, golden):
    cases = EXAMPLES[name.partition(".")[0]]
    text = "".join(f"=== {case}\n{rendered(name, case)}\n" for case in cases)
    golden(GOLDEN / f"{name}.txt", text)


def test_no_golden_file_is_left_over():
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.txt" for name in TEMPLATES}


@pytest.mark.parametrize(("name", "case"), CASES)
def test_no_wording_leaves_blanks_at_an_end_or_an_empty_gap(name, case):
    text = rendered(name, case)
    assert text == text.strip()
    assert "\n\n\n" not in text
    assert "  " not in text or name in ("board", "board.2")


@pytest.mark.parametrize(("name", "case"), [(name, case) for name, case in CASES if name.endswith(".compact")])
def test_a_compact_wording_is_one_line_of_words(name, case):
    assert "\n" not in rendered(name, case)


DIFFERENCES = {
    "board": {
        "cells": TICTACTOE["cells"][::-1],
        "connect": 4,
        "gravity": True,
        "height": 4,
        "last_action": "7",
        "legal": ("1", "2"),
        "mark": "O",
        "name": "Noughts",
        "opponent_mark": "X",
        "width": 4,
        "win_text": False,
    },
    "matrix_games": {
        "actions": ("1",),
        "columns": ("1", "3"),
        "opponent_mix": (("1", "0.5"), ("2", "0.5")),
        "payoffs": (((3, 3), (0, 5)), ((5, 0), (1, 2))),
        "question": "regret",
        "role": "column",
        "rows": ("1", "3"),
    },
    "whos_the_spy": {
        "clues": (((1, "It has a bow."),),),
        "phase": "vote",
        "players": (1, 2, 3),
        "round": 2,
        "rounds": 3,
        "secret_word": "allow",
        "word": "cello",
    },
}
TOLD = [
    (family, variable, value)
    for family, changes in DIFFERENCES.items()
    for variable, value in (
        {"feedback": "Well.", "penalty": "-1", "retry_reason": "late", "player": 3} | changes
    ).items()
    if (family, variable) not in {("board", "player"), ("matrix_games", "player")}
]


@pytest.mark.parametrize(("family", "variable", "value"), TOLD)
def test_both_long_wordings_of_a_game_tell_the_same_facts(family, variable, value):
    before = next(iter(EXAMPLES[family].values()))
    for name in (family, f"{family}.2"):
        text = load_template(name)
        assert render_prompt(text, before) != render_prompt(text, before | {variable: value})


def test_the_spy_is_told_nothing_that_the_others_are_not():
    assert not VARIABLES["whos_the_spy"] & {"role", "spy", "is_spy", "identity"}
    assert "your role" not in "".join(load_template(name) for name in TEMPLATES if name.startswith("whos")).lower()


@pytest.mark.parametrize("name", ["matrix_games", "matrix_games.2", "matrix_games.compact"])
def test_a_matrix_prompt_shows_both_payoffs_of_every_entry(name):
    payoffs = tuple(tuple((100 + 10 * r + c, 200 + 10 * r + c) for c in range(3)) for r in range(4))
    values = FIRST | DILEMMA | {"payoffs": payoffs, "rows": tuple("wxyz"), "columns": tuple("abc")}
    text = render_prompt(load_template(name), values)
    assert all(str(payoff) in text for row in payoffs for entry in row for payoff in entry)


@pytest.mark.parametrize("name", ["board", "board.2"])
@pytest.mark.parametrize("case", EXAMPLES["board"])
def test_a_board_prompt_lists_every_legal_action(name, case):
    legal = " ".join(EXAMPLES["board"][case]["legal"])
    assert legal in rendered(name, case).splitlines()[-1]


def test_the_compact_board_says_for_each_cell_whose_it_is():
    assert rendered("board.compact", "first turn") == "TICTACTOE 1. 2. 3o 4. 5x 6. 7. 8. 9."


def test_the_compact_spy_tells_what_was_said_since_the_player_spoke():
    name = "whos_the_spy.compact"
    assert rendered(name, "first description") == "SPY me P2 violin : P1 It has strings."
    assert rendered(name, "second description") == "P3 Played in orchestras. P4 Made of wood. P1 A bow goes with it."
    assert rendered(name, "vote") == "P3 One sits at it. P4 {{ word }} VOTE 1 3 4"


def test_a_template_is_loaded_by_name():
    assert load_template("answer_tag.compact") == "?\n"


@pytest.mark.parametrize("name", ["", "bord", "../pyproject", "/etc/passwd", "board.j2", "board/../system", "golden"])
def test_a_name_that_does_not_ship_is_a_usage_error(name):
    with pytest.raises(UsageError, match="no template"):
        load_template(name)


def test_a_misspelt_name_is_answered_with_the_closest_one():
    with pytest.raises(UsageError, match=r"no template `bord` ships; did you mean `board`\?"):
        load_template("bord")
    with pytest.raises(UsageError, match=r"there are: answer_tag, answer_tag\.compact, board, "):
        load_template("zzz")


def test_checking_plain_text_imports_no_template_engine():
    script = (
        "import sys; from gift_dsl import prompts; prompts.check_template('plain', ()); prompts.shipped_templates();"
        "prompts.load_template('board'); assert 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
