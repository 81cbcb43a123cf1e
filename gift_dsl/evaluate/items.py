"""The rows of our five benchmarks: from the hub or a local folder, and from whatever shape they have there to one.

A local folder holds what the hub's repository holds, or plain files (.jsonl, .json, .csv, .parquet) named after the
split, in the shapes that these data sets are passed around in.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from types import MappingProxyType
from typing import Any, Final, cast

from gift_dsl.data import hub_snapshot, is_offline, load, offline_variables
from gift_dsl.errors import MachineError

_KINDS: Final = (".jsonl", ".json", ".csv", ".parquet")
_SHOWN: Final = 8

Row = Mapping[str, Any]
_Placed = tuple[Row, str, int]
"""A row, where it is, and its number there, from 1."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a benchmark.

    Attributes:
        question: as it is asked.
        gold: LaTeX of math, a letter of choices, empty of CommonGen.
        choices: texts of the choices, A first.
        concepts: what a sentence must contain, with parts of speech (`dog_N`).
        references: sentences that people wrote.
        subject: what the item is about, where the data say.
        instruction: the whole task as the data put it, where they do.
    """

    question: str
    gold: str = ""
    choices: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    subject: str = ""
    instruction: str = ""

    @property
    def letters(self) -> tuple[str, ...]:
        """A letter for each choice."""
        return tuple(ascii_uppercase[: len(self.choices)])

    def to_json(self) -> dict[str, Any]:
        """Its fields that hold something."""
        fields = {
            "question": self.question,
            "gold": self.gold,
            "choices": list(self.choices),
            "concepts": list(self.concepts),
            "references": list(self.references),
            "subject": self.subject,
            "instruction": self.instruction,
        }
        return {name: value for name, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a benchmark's rows are, and what they must hold.

    Attributes:
        hub: id of the dataset.
        config: its configuration.
        hub_split: name of the split that is asked on the hub.
        splits: names of the split that is asked in a local folder; the first that is there counts. One that models
            are trained on is asked only where there is no other.
        columns: in words, for messages.
        read: an item from a row; None for a row that is no item. KeyError, TypeError or ValueError where the row has
            another shape.
    """

    hub: str
    config: str | None
    hub_split: str
    splits: tuple[str, ...]
    columns: str
    read: Callable[[Row], Item | None]


@dataclass(frozen=True, slots=True)
class Items:
    """What a benchmark asks.

    Attributes:
        items: at least one, in the order of the data.
        split: name of their split; of a single file that was named, its name.
    """

    items: Sequence[Item]
    split: str


def load_items(name: str, data_dir: Path | None, revision: str | None = None) -> list[Item]:
    """The items of a benchmark, in the order of the data; as `find_items`, which says where they were found, too."""
    return list(find_items(name, data_dir, revision).items)


def find_items(name: str, data_dir: Path | None, revision: str | None = None) -> Items:
    """The items of a benchmark and where they were found.

    Args:
        name: of one of ours.
        data_dir: a folder or a file; None: the hub, or this machine's cache of it.
        revision: commit of the hub dataset.

    Raises:
        MachineError: nothing is there, it cannot be reached, its rows have other columns, or none is an item; says
            what was expected and what was found.
    """
    source = SOURCES[name]
    if data_dir is not None:
        split, files = _find(name, source, data_dir)
        rows = [(row, str(path), number) for path in files for number, row in _numbered(name, path)]
        return _checked(name, source, rows, split, ", ".join(map(str, files)))
    snapshot = hub_snapshot("dataset", source.hub, revision)
    if snapshot is None and is_offline():
        raise MachineError(
            f"benchmark `{name}`: the dataset {source.hub} is not on this machine, and the hub is switched off "
            f"({', '.join(offline_variables())}): give `data_dir`, a folder with {_wanted(source)}"
        )
    where = source.hub if snapshot is None else str(snapshot)
    try:
        loaded = load(where, source.config, None if snapshot else revision, source.hub_split, Path())
    except MachineError as error:
        raise MachineError(f"benchmark `{name}`: {error}; or give `data_dir`, a folder with its rows") from error
    rows = [(row, source.hub, number) for number, row in enumerate(loaded, start=1)]
    return _checked(name, source, rows, source.hub_split, source.hub)


def _checked(name: str, source: Source, rows: Sequence[_Placed], split: str, where: str) -> Items:
    """Items of rows, of which there must be some: what cannot be asked is to be found before a run, not after it."""
    items = list(_read_rows(name, source, rows))
    if not items:
        why = f"{len(rows)} rows, none with references" if rows else "no rows"
        raise MachineError(f"benchmark `{name}`: nothing to ask in {where}: {why}; expected {source.columns}")
    return Items(items, split)


def read_split(task: str, root: Path, name: str | None, split: str) -> list[Row]:
    """The rows that a task of lm-eval wants, from a local folder, in the hub's columns.

    Args:
        task: for messages.
        root: with `NAME/SPLIT.jsonl`, `SPLIT/NAME_SPLIT.csv`, the hub's own layout, or the like.
        name: of the dataset's configuration; None: it has but one.
        split: of the dataset.

    Raises:
        MachineError: there is no such file, or it is empty.
    """
    stems = (f"{name}/{split}", f"{split}/{name}_{split}", f"{name}_{split}", f"{name}/{split}-*") if name else ()
    for stem in (*stems, split, f"{split}-*", f"data/{split}-*"):
        files = sorted(path for path in root.glob(f"{stem}.*") if path.suffix in _KINDS)
        if files:
            rows = [_as_hub(row) for path in files for row in read_rows(path)]
            if not rows:
                raise MachineError(f"the lm-eval task `{task}`: no rows in {', '.join(map(str, files))}")
            return rows
    wanted = f"{name}/{split}.jsonl" if name else f"{split}.jsonl"
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())[:_SHOWN]
    raise MachineError(
        f"the lm-eval task `{task}`: no rows of split `{split}` in {root}: expected `{wanted}`; "
        f"found {', '.join(found) if found else 'no file'}; "
        f"`--data DIR` looks in DIR/{task} and in folders of its first words"
    )


def _as_hub(row: Row) -> Row:
    """Columns of MMLU's CSV files as the hub has them."""
    if "choice0" not in row:
        return row
    choices = [str(row[f"choice{index}"]) for index in range(4)]
    rest = {key: value for key, value in row.items() if not key.startswith("choice")}
    return {**rest, "choices": choices, "answer": int(str(row["answer"]))}


def fingerprint_items(items: Sequence[Item]) -> str:
    """sha256 of items, whatever files they came from."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(item.to_json()).encode() + b"\n")
    return digest.hexdigest()


def _wanted(source: Source) -> str:
    return " or ".join(f"`{split}.jsonl`" for split in source.splits[:2]) + f" ({source.columns})"


def _find(name: str, source: Source, root: Path) -> tuple[str, list[Path]]:
    """The split and its files: a file itself, or by the first split and pattern that any file matches."""
    if root.is_file():
        return root.name, [root]
    if not root.is_dir():
        raise MachineError(f"benchmark `{name}`: `data_dir` {root} does not exist; expected {_wanted(source)}")
    for split in source.splits:
        folders = [source.config, None] if source.config else [None]
        for folder in folders:
            start = root / folder if folder else root
            patterns = (f"{split}.*", f"{split}/*", f"{split}[-_]*", f"data/{split}-*", f"*.{split}.*", f"*_{split}.*")
            for pattern in patterns:
                files = sorted(path for path in start.glob(pattern) if path.suffix in _KINDS and path.is_file())
                if files:
                    return split, files
    found = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())[:_SHOWN]
    raise MachineError(
        f"benchmark `{name}`: no rows in {root}: expected {_wanted(source)}, with --data also in a folder `{name}`; "
        f"found {', '.join(found) if found else 'no file'}"
    )


def _numbered(name: str, path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of a file with their numbers, from 1."""
    rows = read_rows(path)
    labels = path.with_name(f"{path.stem}-labels.lst")
    if labels.is_file():  # Social IQa as its authors pack it
        lines = labels.read_text(encoding="utf-8").split()
        if len(lines) != len(rows):
            raise MachineError(
                f"benchmark `{name}`: {labels} has {len(lines)} labels for the {len(rows)} rows of {path}"
            )
        rows = [{**row, "label": label} for row, label in zip(rows, lines, strict=True)]
    return enumerate(rows, start=1)


def read_rows(path: Path) -> list[Row]:
    """The rows of a file. Those of a CSV file know its subject (the name before the last `_`), if they have none.

    Raises:
        MachineError: it cannot be read as what its name says.
    """
    try:
        match path.suffix:
            case ".jsonl":
                return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
            case ".json":
                return _json_rows(path)
            case ".csv":
                return _csv_rows(path)
            case _:
                return list[Row](load(str(path.resolve()), None, None, "train", Path()))
    except (OSError, ValueError) as error:
        raise MachineError(f"{path} cannot be read: {error}") from error


def _json_rows(path: Path) -> list[Row]:
    text = path.read_text(encoding="utf-8")
    try:
        rows = json.loads(text)
    except ValueError:  # some call lines of JSON so
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    if not isinstance(rows, list):
        raise ValueError("it is no list of rows")  # noqa: TRY004 - of a file, not of an argument
    return cast("list[Row]", rows)


def _csv_rows(path: Path) -> list[Row]:
    """With a header, or as MMLU's authors pack it: question, four choices, letter."""
    subject = path.stem.rpartition("_")[0]
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))
    if lines and "question" not in lines[0] and {len(line) for line in lines} == {6}:
        return [{"subject": subject, "question": q, "choices": rest, "answer": a} for q, *rest, a in lines]
    return [{"subject": subject} | dict(zip(lines[0], line, strict=False)) for line in lines[1:]]


def _read_rows(name: str, source: Source, rows: Sequence[_Placed]) -> Iterator[Item]:
    for row, where, number in rows:
        try:
            item = source.read(row)
        except (KeyError, TypeError, ValueError) as error:
            found = ", ".join(f"`{key}`" for key in row) if isinstance(error, KeyError) else str(error)
            raise MachineError(
                f"benchmark `{name}`: row {number} of {where}: expected {source.columns}; found {found}"
            ) from error
        if item is not None:
            yield item


def _text(row: Row, *columns: str) -> str:
    """The first of these columns that there is."""
    column = next((column for column in columns if column in row), columns[0])
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r} in `{column}`, which is no text")
    return value


def _texts(row: Row, column: str) -> tuple[str, ...]:
    value = row[column]
    values = tuple(cast("list[Any]", value)) if isinstance(value, list | tuple) else ()
    if not values or not all(isinstance(one, str) for one in values):
        raise ValueError(f"{value!r} in `{column}`, which is no list of texts")
    return values


def _letter(row: Row, column: str, num_choices: int, first: int = 0) -> str:
    """A letter as it is, or the place of a choice counted from `first`."""
    text = str(row[column]).strip()
    letters = ascii_uppercase[:num_choices]
    letter = letters[int(text) - first] if text.isdecimal() and 0 <= int(text) - first < num_choices else text
    if len(letter) != 1 or letter not in letters:
        raise ValueError(f"{row[column]!r} in `{column}`, where there are {num_choices} choices")
    return letter


def _math(row: Row) -> Item:
    return Item(_text(row, "problem", "question"), _text(row, "answer"), subject=str(row.get("subject", "")))


def _mmlu(row: Row) -> Item:
    split = "choices" not in row and "choice0" in row
    choices = tuple(str(row[f"choice{index}"]) for index in range(4)) if split else _texts(row, "choices")
    letter = _letter(row, "answer", len(choices))
    return Item(_text(row, "question"), letter, choices, subject=str(row.get("subject", "")))


def _mmlu_pro(row: Row) -> Item:
    choices = _texts(row, "options")
    letter = _letter(row, "answer", len(choices))
    return Item(_text(row, "question"), letter, choices, subject=str(row.get("category", "")))


def _social_iqa(row: Row) -> Item:
    choices = tuple(_text(row, f"answer{letter}") for letter in "ABC")
    question = f"{_text(row, 'context').strip()}\n{_text(row, 'question').strip()}"
    return Item(question, _letter(row, "label", 3, first=1), choices)


def _commongen(row: Row) -> Item | None:
    """Rows without references are no items: nothing can be compared."""
    concepts = row["concept_set"]
    named = tuple(concepts.split("#")) if isinstance(concepts, str) else _texts(row, "concept_set")
    if "human_annotations" in row:
        notes = cast("list[Row]", row["human_annotations"] or [])
        references = tuple(_text(note, "ref") for note in notes)
    else:
        references = tuple(row["scene"])
    if not references:
        return None
    return Item("", concepts=named, references=references, instruction=str(row.get("instruction") or ""))


SOURCES: Final[Mapping[str, Source]] = MappingProxyType(
    {
        "math500": Source("HuggingFaceH4/MATH-500", None, "test", ("test",), "`problem` and `answer`", _math),
        "mmlu": Source(
            "cais/mmlu",
            "all",
            "test",
            ("test",),
            "`question`, `choices` (or `choice0` to `choice3`) and `answer`",
            _mmlu,
        ),
        "mmlu_pro": Source(
            "TIGER-Lab/MMLU-Pro", None, "test", ("test",), "`question`, `options` and `answer`", _mmlu_pro
        ),
        "social_iqa": Source(
            "lighteval/siqa",
            None,
            "validation",
            ("validation", "dev"),
            "`context`, `question`, `answerA`, `answerB`, `answerC` and `label`",
            _social_iqa,
        ),
        "commongen": Source(
            "allenai/commongen_lite_eval",
            None,
            "train",  # its only one, made for evaluation
            ("commongen_hard", "test", "dev", "validation", "train"),
            "`concept_set` and `human_annotations` (or `scene`)",
            _commongen,
        ),
    }
)
