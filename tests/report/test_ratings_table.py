from __future__ import annotations

from gift_dsl.evaluate.ratings import Meeting, rate
from gift_dsl.report.eval_tables import tournament_tables

PROTOCOL = {"rounds": 4, "split": "dev", "temperature": 0.5, "seed": 1, "samples": 2, "history": "full"}


def document(**games):
    rated = {
        game: [
            rating.to_json() for rating in rate([Meeting("a", "b", float(s), str(i)) for i, s in enumerate(scores)], 1)
        ]
        for game, scores in games.items()
    }
    overall = next(iter(rated.values()))
    return {"protocol": PROTOCOL, "overall": overall, "games": rated, "exploitability": {}, "encounters": []}


def test_a_rating_that_no_result_bounds_has_a_star_and_a_note():
    everything, sided, level, _ = tournament_tables(document(sided="1111", level="1101"))
    for table in (everything, sided):
        assert all(row[1].endswith(" *") for row in table.rows)
        assert "finite only by the games that are added" in table.notes[-1]
    assert not any("*" in cell for row in level.rows for cell in row)
    assert level.notes == ()
