"""From a row of a dataset to a question, its choices and its gold answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, cast

from gift_dsl.errors import GiftError
from gift_dsl.games.game import Rows, Split
from gift_dsl.games.grading import fold_text, parse_number
from gift_dsl.games.question import Dataset, QuestionParams
from gift_dsl.games.splits import TEST_SHARE, split_of


@dataclass(frozen=True, slots=True)
class Item:
    """One question.

    Attributes:
        question: as it is asked.
        gold: the right answer; of a choice its letter.
        choices: texts of the choices in order; empty for other kinds.
        key: equal for questions that differ by case and white space only.
    """

    question: str
    gold: str
    key: str
    choices: tuple[str, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """A letter for each choice."""
        return tuple(ascii_uppercase[: len(self.choices)])


def read_item(params: QuestionParams, row: Mapping[str, Any]) -> Item:
    """The question of a row.

    Raises:
        GiftError: a named column is missing, or its value is no question, list of choices or answer of this kind.
    """
    dataset = cast(Dataset, params.dataset)
    question = _text(_value(row, dataset.question), dataset.question)
    choices: tuple[str, ...] = ()
    if params.kind == "choice":
        choices = _choices(_value(row, cast(str, dataset.choices)), cast(str, dataset.choices))
    answer = _value(row, dataset.answer)
    gold = _letter(answer, choices, dataset.answer) if choices else _text(answer, dataset.answer)
    if params.kind == "number" and parse_number(gold) is None:
        raise GiftError(f"column `{dataset.answer}` holds {gold!r}, which is not a number, as `kind: number` needs")
    return Item(question, gold, item_key(question, choices), choices)


def item_key(question: str, choices: tuple[str, ...] = ()) -> str:
    """A digest of the question, case and white space left out; choices in any order."""
    content = ("question", fold_text(question), *sorted(map(fold_text, choices)))
    return hashlib.sha256(repr(content).encode()).hexdigest()


def cut_rows(params: QuestionParams, rows: Rows) -> Mapping[Split, Rows]:
    """Rows by split, cut by the hash of the question: 80 % train, 10 % dev, 10 % test.

    A dataset with a `test_split` of its own is cut into train and dev only.

    Raises:
        GiftError: a row does not hold what its columns should.
    """
    has_test = params.dataset is not None and params.dataset.test_split is not None
    test_share = 0.0 if has_test else TEST_SHARE
    cut: dict[Split, list[Mapping[str, Any]]] = {"train": [], "dev": [], "test": []}
    for row in rows:
        cut[split_of(read_item(params, row).key, test_share)].append(row)
    return cut


def _value(row: Mapping[str, Any], column: str) -> object:
    """The value of a column; `a.0.b` enters maps by key and lists by place."""
    if column in row:
        return row[column]
    value: object = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = cast(Mapping[str, object], value)[part]
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(cast(list[object], value)):
            value = cast(list[object], value)[int(part)]
        else:
            raise GiftError(f"the dataset has no column `{column}`; it has: {', '.join(sorted(row))}")
    return value


def _text(value: object, column: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
        raise GiftError(f"column `{column}` holds {value!r}, which is neither a text nor a number")
    return str(value).strip()


def _choices(value: object, column: str) -> tuple[str, ...]:
    texts = (
        tuple(_text(choice, column) for choice in cast(list[object], value)) if isinstance(value, list | tuple) else ()
    )
    if not 2 <= len(texts) <= len(ascii_uppercase):
        raise GiftError(
            f"column `{column}` holds {value!r}, which is not a list of 2 to {len(ascii_uppercase)} choices"
        )
    return texts


def _letter(answer: object, choices: tuple[str, ...], column: str) -> str:
    """The letter of the right choice, given by its text, its letter, or its place from 0 as a number."""
    letters = ascii_uppercase[: len(choices)]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return letters[answer]
    if isinstance(answer, str):
        found = {letter for letter, choice in zip(letters, choices, strict=True) if choice == answer.strip()}
        found |= {answer.strip()} & set(letters)
        if len(found) == 1:
            return found.pop()
    raise GiftError(
        f"column `{column}` holds {answer!r}, which names none of the {len(choices)} choices, or two of them"
    )
