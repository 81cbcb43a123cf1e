"""Did you mean: the names that a mistyped word may stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

MAX_NAMES: Final = 3
MAX_LISTED: Final = 12
_MIN_PREFIX: Final = 3
# Longer texts are no mistyped names, and comparing them takes the product of their lengths.
_MAX_LENGTH: Final = 80
_FOLD: Final = str.maketrans("", "", "-_ ")


def suggest(word: str, options: Iterable[str]) -> list[str]:
    """At most three of `options` that `word` may be meant for, the likeliest first; often none.

    The nearest by edit distance (optimal string alignment, blind to case, `-` and `_`) within 1, 2 or 3 edits for
    words of up to 3, up to 7 and more letters; failing that, names that begin with the word or the word with them;
    failing that, names of the same words in another order.
    """
    names = [name for name in dict.fromkeys(options) if len(name) <= _MAX_LENGTH]
    if len(word) > _MAX_LENGTH:
        return []
    return (_nearest(word, names) or _by_prefix(word, names) or _same_words(word, names))[:MAX_NAMES]


def did_you_mean(word: str, options: Iterable[str]) -> str | None:
    """The hint for an unknown word: a question, or the list of options where it is short, or None."""
    names = list(dict.fromkeys(options))
    if close := suggest(word, names):
        odd = next((character for character in word if not character.isascii()), None)
        told = "" if odd is None else f" (what is written holds the character U+{ord(odd):04X})"
        return f"did you mean {_either(close)}?{told}"
    if names and len(names) <= MAX_LISTED:
        return f"known: {', '.join(f'`{name}`' for name in names)}"
    return None


def _either(names: Sequence[str]) -> str:
    *rest, last = [f"`{name}`" for name in names]
    return f"{', '.join(rest)} or {last}" if rest else last


def _fold(word: str) -> str:
    return word.casefold().translate(_FOLD)


def _nearest(word: str, names: list[str]) -> list[str]:
    folded = _fold(word)
    cap = min(1 if len(folded) <= 3 else 2 if len(folded) <= 7 else 3, len(folded) - 1)
    distances = {name: distance(folded, _fold(name), cap) for name in names}
    best = min(distances.values(), default=cap + 1)
    return [name for name in names if distances[name] == best <= cap]


def _by_prefix(word: str, names: list[str]) -> list[str]:
    folded = _fold(word)
    if len(folded) < _MIN_PREFIX:
        return []
    pairs = [(name, _fold(name)) for name in names]
    longer = [name for name, other in pairs if other.startswith(folded)]
    return longer or [name for name, other in pairs if len(other) >= _MIN_PREFIX and folded.startswith(other)]


def _same_words(word: str, names: list[str]) -> list[str]:
    words = _words(word)
    return [name for name in names if len(words) > 1 and _words(name) == words]


def _words(name: str) -> frozenset[str]:
    return frozenset(name.casefold().replace("-", "_").replace(" ", "_").split("_"))


def distance(left: str, right: str, cap: int) -> int:
    """Optimal string alignment distance (insert, delete, replace, swap neighbours), or `cap` + 1 if it is larger."""
    if abs(len(left) - len(right)) > cap:
        return cap + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        above, row, older = row, [i], before
        for j, b in enumerate(right, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > cap and min(above) > cap:
            return cap + 1
        before = above
    return min(row[-1], cap + 1)
