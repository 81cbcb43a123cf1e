"""The wordings that ship: one file each in `templates/`, found by name.

A template renders one observation for one player. The sentence that asks for an answer format and the system prompt
are templates of their own, so that every game asks alike. `board` is the standard wording of the board games,
`board.2` says the same in other words, `board.compact` says it in few tokens for models of a small vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from gift_dsl.errors import UsageError
from gift_dsl.settings import shipped

COMMON: Final = frozenset({"feedback", "penalty", "player", "retry_reason", "turn", "turns_left"})
"""Variables of every game: `turn` of this player in this part and `turns_left` with this one, `player` (its seat), all
counted from 1; and text or none: `feedback` on the part before, `retry_reason` and `penalty` of a refused answer."""

VARIABLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "answer_tag": frozenset({"max_tokens", "tag", "think"}),
        "board": COMMON
        | {"cells", "connect", "gravity", "height", "last_action", "legal", "mark", "name"}
        | {"opponent_mark", "width", "win_text"},
        "matrix_games": COMMON | {"actions", "columns", "opponent_mix", "payoffs", "question", "role", "rows"},
        "question": COMMON | {"choices", "kind", "question"},
        "system": frozenset[str](),
        "whos_the_spy": COMMON | {"clues", "legal", "phase", "players", "round", "rounds", "secret_word", "word"},
    }
)
"""What a template may read, by the first part of its name."""


@lru_cache(maxsize=1)
def shipped_templates() -> tuple[str, ...]:
    """The names of all shipped templates, sorted."""
    return tuple(sorted(path.name.removesuffix(".j2") for path in shipped("templates").glob("*.j2")))


@lru_cache(maxsize=64)
def load_template(name: str) -> str:
    """The text of a shipped template.

    Raises:
        UsageError: no template of that name ships.
    """
    names = shipped_templates()
    if name not in names:
        from difflib import get_close_matches  # takes 6 ms to import, and names are seldom wrong

        close = get_close_matches(name, names, n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(names)}"
        raise UsageError(f"no template `{name}` ships; {hint}")
    return (shipped("templates") / f"{name}.j2").read_text(encoding="utf-8")


def variables_of(name: str) -> frozenset[str]:
    """What the shipped template `name` may read."""
    return VARIABLES[name.partition(".")[0]]
