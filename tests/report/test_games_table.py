from __future__ import annotations

from gift_dsl.evaluate.games import GamesRequest, GamesResult
from gift_dsl.evaluate.scores import GameScore, Round
from gift_dsl.report.eval_tables import games_table


def table_of(*outcomes, **changes):
    """The table of one game whose rounds ended so."""
    rounds = tuple(
        Round(number, str(number), 0, "", outcome, float(outcome == "success"), **changes)
        for number, outcome in enumerate(outcomes)
    )
    score = GameScore("board", "board", None, "test", "test", ("random",), rounds)
    request = GamesRequest("test", len(rounds), ("board",))
    return games_table(GamesResult(request, (score,), {}).to_json())


def counts_of(table):
    """Cells by name of their column, from the number of rounds on."""
    (row,) = table.rows
    return dict(zip(table.header[6:-1], row[6:-1], strict=True))


def test_all_that_rounds_ended_in_stands_in_the_table():
    outcomes = ("success", "draw", "draw", "loss", "loss", "loss", "bad_format", "illegal_action", "void", "unplayed")
    table = table_of(*outcomes, truncated=2, opponent_illegal=1)
    assert counts_of(table) == {
        "rounds": "8", "draws": "2", "losses": "3", "bad format": "1", "illegal": "1", "void": "1", "unplayed": "1",
        "cut turns": "20", "opponent illegal": "10",
    }  # fmt: skip
    assert len(table.alignment) == len(table.header) == len(table.rows[0])


def test_what_happened_in_no_game_has_no_column_unless_it_is_asked_of_every_result():
    assert counts_of(table_of("success", "success")) == {"rounds": "2", "bad format": "0", "illegal": "0", "void": "0"}
