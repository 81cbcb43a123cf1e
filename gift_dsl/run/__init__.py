"""One run: the stages in order, each in its own processes, then the evaluation and the records.

Gets a Plan and never sees the YAML it came from. It binds the names of opponents to seats, starts and watches the
processes, and hands train a probe that is built from evaluate.
"""

from gift_dsl.run.match import Match, play_match
from gift_dsl.run.seating import bind, rows_of, seated_names, table_games

__all__ = ["Match", "bind", "play_match", "rows_of", "seated_names", "table_games"]
