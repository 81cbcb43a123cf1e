"""From a completion to an action: one small declared protocol, tolerant of the harmless and strict about the rest.

A completion is read in three steps.

1. The think part is everything up to the last `</think>`. Its opening tag may be missing, because some chat templates
   write it themselves. One that is opened and never closed makes the completion badly formatted. Nothing that stands
   in the think part is an answer.
2. What is left holds exactly one answer element `<answer>…</answer>`, or several of the same content. Text may stand
   before it (a model that reasons in plain words), but none after it: only white space, punctuation and Markdown
   marks. Tags are read in any case.
3. The content is an action if it is a legal one but for case, spaces, one full stop, colon or bracket after it, and
   quotes, brackets or Markdown marks around it: `B`, `(B)`, `**B**`, `b.` and `B)` are all the action `B`.

One turn is one action: no separator is read, so `1||2`, `1, 2` and `1 2` are legal only where that text is one action.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import Action, FreeText, Legal

Think = Literal["optional", "required", "forbidden"]

_SHOWN_CHARS: Final = 60
_THINK: Final = re.compile(r"<(/?)\s*think\s*>", re.IGNORECASE)
_WORDS: Final = re.compile(r"\w")
_TRAILING: Final = ".,;:!)"
_PAIRS: Final = frozenset({"()", "[]", "{}", "**", "__", "``", '""', "''", "\u201c\u201d", "\u2018\u2019"})


@dataclass(frozen=True, slots=True)
class Parsed:
    """The content of the answer element, without the white space around it; never empty."""

    answer: str


@dataclass(frozen=True, slots=True)
class BadFormat:
    """A completion without a readable answer, and why. Data, not an error."""

    reason: str


@dataclass(frozen=True, slots=True)
class IllegalAction:
    """An answer that is no legal action, and why. Data, not an error."""

    reason: str


def parse_answer(text: str, tag: str = "answer", think: Think = "optional") -> Parsed | BadFormat:
    """The answer that a completion gives.

    Args:
        text: the completion without special tokens.
        tag: name of the answer element.
        think: whether a `<think>` part stands before it.
    """
    plain = _plain_pattern(tag).fullmatch(text) if think != "required" else None
    if plain is not None:
        return Parsed(plain.group(1).strip())  # what most completions look like
    body = _without_thoughts(text, think)
    if isinstance(body, BadFormat):
        return body
    opening, closing, elements = _tag_patterns(tag)
    found = list(elements.finditer(body))
    if not found:
        return BadFormat(f"no <{tag}> element" + (" is closed" if opening.search(body) else ""))
    if not len(opening.findall(body)) == len(closing.findall(body)) == len(found):
        return BadFormat(f"a <{tag}> tag is not paired")
    answers = {match.group(1).strip() for match in found}
    if len(answers) > 1:
        return BadFormat(f"{len(found)} different <{tag}> elements")
    if _WORDS.search(body, found[-1].end()):
        return BadFormat(f"text after </{tag}>: {_shown(body[found[-1].end() :])}")
    answer = answers.pop()
    return Parsed(answer) if answer else BadFormat(f"the <{tag}> element is empty")


def read_action(answer: str, legal: Legal) -> Action | IllegalAction:
    """The legal action that an answer names.

    Args:
        answer: content of the answer element.
        legal: what the player may do now.

    Returns:
        One of the listed actions as the game writes it; of free text the text itself.
    """
    if isinstance(legal, FreeText):
        text = answer.strip()
        reason = reason_against(legal, text)
        return text if reason is None else IllegalAction(reason)
    if answer in legal:
        return answer
    plain = _plain(answer)
    matches = [action for action in legal if _plain(action) == plain] if plain else []
    if len(matches) == 1:
        return matches[0]
    if matches:
        return IllegalAction(f"{_shown(answer)} could be {' or '.join(matches)}")
    return IllegalAction(f"{_shown(answer)} is not a legal action")


def without_thoughts(text: str) -> str:
    """A completion without its think part, as `thinking: strip` shows it in later turns."""
    ends = [match.end() for match in _THINK.finditer(text) if match.group(1)]
    return text[ends[-1] :].lstrip() if ends else text


def _without_thoughts(text: str, think: Think) -> str | BadFormat:
    tags = list(_THINK.finditer(text))
    if not tags:
        return BadFormat("no <think> part") if think == "required" else text
    if think == "forbidden":
        return BadFormat("a <think> part")
    if not tags[-1].group(1):
        return BadFormat("the <think> part is not closed")
    return text[tags[-1].end() :]


@lru_cache(maxsize=64)
def _plain_pattern(tag: str) -> re.Pattern[str]:
    """One element with something in it and nothing around it."""
    return re.compile(rf"\s*<{re.escape(tag)}>([^<>]*[^<>\s][^<>]*)</{re.escape(tag)}>\s*")


@lru_cache(maxsize=64)
def _tag_patterns(tag: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Of the opening tag, the closing tag, and an element without another opening tag inside."""
    name = re.escape(tag)
    opening, closing = rf"<\s*{name}\s*>", rf"<\s*/\s*{name}\s*>"
    patterns = (opening, closing, rf"{opening}((?:(?!{opening}).)*?){closing}")
    first, second, third = (re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in patterns)
    return first, second, third


@lru_cache(maxsize=65_536)
def _plain(text: str) -> str:
    """A text without what is harmless around an action; two actions are never joined or cut by it."""
    plain = " ".join(text.split())
    while len(plain) > 1:
        if plain[0] + plain[-1] in _PAIRS:
            plain = plain[1:-1].strip()
        elif plain[-1] in _TRAILING:
            plain = plain[:-1].rstrip()
        else:
            break
    return re.sub(r"\s*([,;:()|/-])\s*", r"\1", plain).casefold()


def _shown(text: str) -> str:
    short = " ".join(text.split())
    return f"`{short}`" if len(short) <= _SHOWN_CHARS else f"`{short[:_SHOWN_CHARS]}…`"
