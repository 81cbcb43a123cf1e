"""From an answer as people and models write it to LaTeX that a parser reads whole, or to nothing.

math-verify looks for a value anywhere in a text. In a text without LaTeX delimiters it stops at the first sign it does
not know and takes what it has, so that `2√3`, `2x` and `2e5` all count as 2. Here such a text has to be the value, a
sentence that leads up to it (`the answer is 2√3.`), or a quantity (`12 apples`).
"""

from __future__ import annotations

import re
from typing import Final

_PAIRED: Final = ("\\(", "\\[", "\\boxed")
# Each typed form and its LaTeX.
_TYPED: Final = (
    (re.compile(r"\u2212"), "-"),
    (re.compile(r"(?:\u221a|\bsqrt)\s*\(([^()]*)\)"), r"\\sqrt{\1}"),
    (re.compile(r"\u221a\s*(\d+|[a-zA-Z])"), r"\\sqrt{\1}"),
    (re.compile(r"(?<![\\a-zA-Z])pi(?![a-zA-Z])|\u03c0"), r"\\pi "),
    (re.compile(r"[\u00b7\u22c5*\u00d7]"), r"\\cdot "),
    (re.compile(r"(?<=\d)[eE]([+-]?\d+)\b"), r"\\cdot 10^{\1}"),
)
_GROUPED_DIGITS: Final = re.compile(r"(?<![\d.,])(?<!\d )\d{1,3}(?: \d{3})+(?![\d.]| \d)")
_COMMANDS: Final = re.compile(r"\\(?:begin|end|text|textbf|mathrm|mbox)\s*\{[^{}]*\}|\\[a-zA-Z]+")
_WORD: Final = re.compile(
    r"\b(?!(?:sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|exp|max|min|gcd|lcm|mod|and)\b)[a-zA-Z]{3,}"
)
_LEADS: Final = (
    re.compile(
        r".*(?:\b(?:is|are|be|equals|equal to|get|gets|gives?|obtain|yields?)\b:?|:)\s+(?=\S)",
        re.DOTALL | re.IGNORECASE,
    ),
    re.compile(r".*=\s*(?=\S)", re.DOTALL),
)
_QUANTITY: Final = re.compile(r"([+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+))((?:\s+[a-zA-Z]+){1,3})")
_CHANGING_WORDS: Final = frozenset(
    {
        "billion",
        "cubed",
        "divided",
        "dozen",
        "half",
        "halves",
        "hundred",
        "less",
        "million",
        "minus",
        "more",
        "or",
        "over",
    }
    | {"percent", "plus", "root", "squared", "tenths", "third", "thirds", "thousand", "times", "to", "trillion", "and"}
)
_SEVERAL_NUMBERS: Final = re.compile(r"[+-]?\d[\d.]*(?:\s+[+-]?\d[\d.]*)+")


def is_delimited(text: str) -> bool:
    r"""Whether some part of a text is marked as LaTeX: `$…$`, `\(…\)`, `\[…\]`, `\boxed{…}`."""
    return text.count("$") > 1 or any(mark in text for mark in _PAIRED)


def value_as_latex(text: str) -> str | None:
    """The value that a text without LaTeX delimiters is or ends in, as LaTeX; None where there is none or several.

    Args:
        text: without delimiters (`is_delimited` is false).
    """
    text = _strip(text.replace("\\$", "").replace("$", ""))
    if _has_words(text):
        text = _without_lead(text)
    for typed, latex in _TYPED:
        text = typed.sub(latex, text)
    text = _GROUPED_DIGITS.sub(lambda match: match[0].replace(" ", ""), text)
    if not text or _SEVERAL_NUMBERS.fullmatch(text):
        return None
    return _quantity(text) if _has_words(text) else text


def _without_lead(sentence: str) -> str:
    for lead in _LEADS:
        if match := lead.match(sentence):
            return _strip(sentence[match.end() :])
    return sentence


def _quantity(text: str) -> str | None:
    """The number of `12 apples`; a word that changes the number (`2 million`) leaves none."""
    match = _QUANTITY.fullmatch(text)
    if match is None or _CHANGING_WORDS & set(match[2].lower().split()):
        return None
    return match[1]


def _has_words(text: str) -> bool:
    return _WORD.search(_COMMANDS.sub(" ", text)) is not None


def _strip(text: str) -> str:
    """Without white space and Markdown emphasis around it, and a full stop or comma after it."""
    text = text.strip()
    if len(text) > 4 and text.startswith("**") and text.endswith(("**", "**.")):
        text = text.strip("*.").strip()
    return text.rstrip(".,; \n\t")
