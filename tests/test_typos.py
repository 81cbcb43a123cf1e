"""One typo in a spec: it is always found, on its own line, nearly always told once, and the hint names the right word.

The bounds are those of the language's promise; the numbers reached, and each typo that misses, stand in the message of
an assertion that fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pytest

from gift_dsl.api import check_spec
from gift_dsl.errors import Diagnostic, Span
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node
from gift_dsl.spec.source import parse_yaml
from gift_dsl.spec.walk import walk

SPECS = Path(__file__).parent.parent / "specs"
FILES = [SPECS / "nested_all.yaml", SPECS / "quickstart.yaml", SPECS / "examples" / "league.yaml"]
FREE = {"extra_body"}
"""What stands below these keys is sent to a server as it is: nobody can know its keys."""


def drop(word: str, at: int) -> str:
    return word[:at] + word[at + 1 :]


def double(word: str, at: int) -> str:
    return word[:at] + word[at] + word[at:]


def swap(word: str, at: int) -> str:
    return word[:at] + word[at + 1 : at + 2] + word[at] + word[at + 2 :]


def replace(word: str, at: int) -> str:
    return word[:at] + ("x" if word[at] != "x" else "q") + word[at + 1 :]


TYPOS: tuple[Callable[[str, int], str], ...] = (drop, double, swap, replace)


@dataclass(frozen=True, slots=True)
class Word:
    """A key or a value of a file, and whether it defines a name."""

    text: str
    span: Span
    neighbours: frozenset[str] = frozenset()
    defines: bool = False


def typos_of(word: Word) -> list[str]:
    """Typos of two kinds, drawn for the word, that make no other word of the same map."""
    rng = random.Random(f"{word.text} {word.span.line} {word.span.column}")
    made = {kind(word.text, rng.randrange(len(word.text))) for kind in rng.sample(TYPOS, 2)}
    return sorted(typo for typo in made if typo and typo != word.text and typo not in word.neighbours)


def keys_of(node: Node, path: tuple[str | int, ...] = ()) -> Iterator[Word]:
    """Every key of every map; those that begin with `x-` are the author's own."""
    if path and path[-1] in FREE:
        return
    names = frozenset(node.fields)
    for key, child in node.fields.items():
        if key.startswith("x-"):
            continue
        yield Word(key, node.key_spans[key], names, path in (("games",), ("opponents",)))
        yield from keys_of(child, (*path, key))
    for index, child in enumerate(node.items):
        yield from keys_of(child, (*path, index))


@lru_cache(maxsize=8)
def tree_of(path: Path) -> Node:
    tree, found = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    assert tree is not None
    assert not found
    return tree


def with_typo(text: str, word: Word, typo: str) -> str:
    lines = text.split("\n")
    line = lines[word.span.line - 1]
    lines[word.span.line - 1] = line[: word.span.column - 1] + typo + line[word.span.end_column - 1 :]
    return "\n".join(lines)


def is_new(found: Diagnostic, before: set[tuple[str, str]]) -> bool:
    return (found.code, found.message) not in before


@dataclass(slots=True)
class Score:
    """What became of many typos."""

    trials: int = 0
    undetected: list[str] = field(default_factory=list)
    wrong_line: list[str] = field(default_factory=list)
    several: list[str] = field(default_factory=list)
    no_hint: list[str] = field(default_factory=list)

    def add(self, path: Path, word: Word, typo: str) -> None:
        text = path.read_text(encoding="utf-8")
        before = {(item.code, item.message) for item in baseline(path)}
        diagnostics = check_spec(str(path), with_typo(text, word, typo)).diagnostics
        found = [item for item in diagnostics if is_new(item, before)]
        told = f"{path.name}:{word.span.line}: `{word.text}` as `{typo}`: {[str(item.code) for item in found]}"
        spans = [
            span for item in found for span in (item.span, *(note.span for note in item.notes)) if span is not None
        ]
        self.trials += 1
        if not found:
            self.undetected.append(told)
        elif all(span.line != word.span.line for span in spans):
            self.wrong_line.append(told)
        if len(found) != 1:
            self.several.append(told)
        wanted = f"`{typo if word.defines else word.text}`"
        if not any(wanted in (item.hint or "") for item in found):
            self.no_hint.append(told)

    def share(self, failures: list[str]) -> float:
        return 1 - len(failures) / self.trials

    def __str__(self) -> str:
        numbers = f"{self.trials} typos: {len(self.undetected)} undetected, {len(self.wrong_line)} on a wrong line, "
        numbers += f"one message for {self.share(self.several):.1%}, the right word for {self.share(self.no_hint):.1%}"
        lists = {"several": self.several, "no hint": self.no_hint, "line": self.wrong_line, "missed": self.undetected}
        return "\n".join([numbers, *(f"  {name}: {told}" for name, items in lists.items() for told in items[:40])])


@lru_cache(maxsize=8)
def baseline(path: Path) -> tuple[Diagnostic, ...]:
    return check_spec(str(path)).diagnostics


@lru_cache(maxsize=1)
def key_scores() -> Score:
    score = Score()
    for path in FILES:
        for word in keys_of(tree_of(path)):
            for typo in typos_of(word):
                score.add(path, word, typo)
    return score


def test_each_spec_is_right_before_it_is_spoilt():
    for path in FILES:
        assert all(item.severity == "warning" for item in baseline(path))


def test_a_typo_in_a_key_is_always_found():
    assert not key_scores().undetected, str(key_scores())


def test_a_typo_in_a_key_is_told_on_its_line():
    assert not key_scores().wrong_line, str(key_scores())


def test_a_typo_in_a_key_is_one_message_for_nine_in_ten():
    assert key_scores().share(key_scores().several) >= 0.9, str(key_scores())


def test_the_hint_names_the_right_key_for_nineteen_in_twenty():
    assert key_scores().share(key_scores().no_hint) >= 0.95, str(key_scores())


# ── names and types ──


def names_of(path: Path) -> Iterator[Word]:
    """Every type, and every name of a game or an opponent where it is used."""
    tree = tree_of(path)
    known = {
        section: frozenset(tree.fields[section].fields) if section in tree.fields else frozenset()
        for section in ("games", "opponents")
    }
    for place in walk(Spec, tree):
        if place.ref is not None and place.node.text is not None:
            yield Word(place.node.text, place.node.span, known[place.ref.section])
        kind = place.node.fields.get("type")
        if kind is not None and kind.text is not None:
            yield Word(kind.text, kind.span)


@lru_cache(maxsize=1)
def name_scores() -> Score:
    score = Score()
    for path in FILES:
        for word in dict.fromkeys(names_of(path)):
            for typo in typos_of(word):
                score.add(path, word, typo)
    return score


def test_a_typo_in_a_name_or_a_type_is_always_found_on_its_line():
    assert not [*name_scores().undetected, *name_scores().wrong_line], str(name_scores())


def test_a_typo_in_a_name_or_a_type_is_one_message_for_nine_in_ten():
    assert name_scores().share(name_scores().several) >= 0.9, str(name_scores())


def test_the_hint_names_the_right_name_for_nineteen_in_twenty():
    assert name_scores().share(name_scores().no_hint) >= 0.95, str(name_scores())


@pytest.mark.parametrize("scores", [key_scores, name_scores])
def test_there_were_enough_typos_to_say_so(scores):
    assert scores().trials >= 100
