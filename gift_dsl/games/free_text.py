"""Which free text is a legal action: its length, its lines, and the words it may not contain."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from gift_dsl.games.game import FreeText

# Letters of other scripts that look like Latin ones: enough that a word cannot be hidden by swapping a few.
_LOOKALIKES: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u043a\u043c\u0442\u0432\u043d"
    "\u03b1\u03bf\u03c1\u03bd\u03b9\u03ba\u03c4\u03c5\u03c7\u0131\u0142\u00f8\u0111",
    "aeopcyxijsdkmtbh" + "aopviktuxilod",
)
_INSIDE_WORDS: Final = re.compile(r"(?<=\w)['\u2019`_\-\u2010-\u2015\u00ad](?=\w)")
_SPELLED_OUT: Final = re.compile(r"\b\w(?:[\W_]+\w\b)+")
# A word of fewer letters stands inside too many others.
_LETTERS_OF_A_COMPOUND: Final = 4


@lru_cache(maxsize=4096)  # who reads an answer and the rules that play it ask for the same
def reason_against(free: FreeText, text: str) -> str | None:
    """Why a text is not a legal action, as a short clause; None where it is legal.

    A forbidden word is found whatever its case, accents, look-alike letters, invisible characters or hyphens, spelled
    out letter by letter, in the plural and the possessive; with four letters or more also inside a longer word.
    """
    if not _plain(text).strip():
        return "the text is empty"
    if len(text) > free.max_chars:
        return f"the text has {len(text)} characters, more than {free.max_chars}"
    if free.one_line and text.splitlines() != [text]:
        return "the text has more than one line"
    return next((f"the text contains `{word}`" for word in free.forbidden if contains_word(text, word)), None)


def contains_word(text: str, word: str) -> bool:
    """Whether a text says a word or phrase in one of the ways that `reason_against` names."""
    pattern = _pattern(word)
    return pattern is not None and any(pattern.search(reading) for reading in _readings(text))


def fold(text: str) -> str:
    """A text in lower case without accents, invisible characters and look-alikes, its words a space apart."""
    return _words(_plain(text))


def _words(plain: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", plain))


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFD", unicodedata.normalize("NFKC", text).casefold())
    # Cf: zero-width spaces and joiners, direction marks, the soft hyphen; Mn: accents.
    kept = (char for char in decomposed if unicodedata.category(char) not in ("Cf", "Mn"))
    return "".join(kept).translate(_LOOKALIKES)


def _readings(text: str) -> Iterator[str]:
    """The text word by word; with hyphens and apostrophes inside words closed up; with spelled-out words joined."""
    plain = _plain(text)
    yield _words(plain)
    yield _words(_INSIDE_WORDS.sub("", plain))
    yield _words(_SPELLED_OUT.sub(lambda found: re.sub(r"[\W_]+", "", found.group()), plain))


@lru_cache(maxsize=4096)
def _pattern(word: str) -> re.Pattern[str] | None:
    """What to look for in a folded text; None for a word without letters."""
    parts = fold(word).split()
    if not parts:
        return None
    *before, last = parts
    forms = "|".join(re.escape(form) for form in sorted(_inflected(last), key=len, reverse=True))
    phrase = " ?".join([*map(re.escape, before), f"(?:{forms})"])
    if len(last) >= _LETTERS_OF_A_COMPOUND or before:
        # A phrase starts where a word starts: "nice cream" is not "ice cream".
        return re.compile(rf"\b{phrase}" if before else phrase)
    return re.compile(rf"\b{phrase}(?:e?s)?\b")


def _inflected(word: str) -> set[str]:
    """A word, its singular, and the plural and participle that change its end; plain endings need no entry."""
    forms = {word, *_singulars(word)}
    for form in tuple(forms):
        if form.endswith("y"):
            forms.add(form[:-1] + "ies")
        if form.endswith("fe"):
            forms.add(form[:-2] + "ves")
        if form.endswith("f"):
            forms.add(form[:-1] + "ves")
        if form.endswith("e") and len(form) >= _LETTERS_OF_A_COMPOUND:
            forms.add(form[:-1] + "ing")
    return forms


def _singulars(word: str) -> Iterator[str]:
    """What a word is the regular plural of, where at least four letters are left."""
    if word.endswith("ies") and len(word) > 5:
        yield word[:-3] + "y"
    elif re.search(r"(?:s|x|z|ch|sh)es$", word) and len(word) > 5:
        yield word[:-2]
    elif re.search(r"[^aisu]s$", word) and len(word) > _LETTERS_OF_A_COMPOUND:
        yield word[:-1]
