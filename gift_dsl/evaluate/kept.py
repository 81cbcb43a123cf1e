"""Answers and results on disk: what was done or paid for once is not done again after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from gift_dsl.artifacts.files import json_text, read_object, safe_name, write_whole
from gift_dsl.errors import MachineError
from gift_dsl.evaluate.subject import Answer, Question, prompt_hash

KEPT_SCHEMA: Final = "gift-kept/1"

Task = tuple[str, ...]
"""The name of something that is done as a whole, e.g. two players in a game."""


class KeptResults:
    """One file for the result of each task, whole or not there.

    Args:
        folder: of the files; made with the first of them.
        digest_of: of everything that the result of a task depends on.
    """

    def __init__(self, folder: Path, digest_of: Callable[[Task], str]) -> None:
        self._folder, self._digest_of = folder, digest_of

    def find(self, task: Task) -> dict[str, Any] | None:
        """The result of a task; None where it was not finished, or depends on something else now."""
        try:
            found = read_object(self._path(task))
        except (FileNotFoundError, MachineError):
            return None
        return found.get("result") if found.get("digest") == self._digest_of(task) else None

    def keep(self, task: Task, result: Mapping[str, Any]) -> None:
        """Write the result of a task.

        Raises:
            MachineError: the disk is full, or may not be written.
        """
        path = self._path(task)
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"schema": KEPT_SCHEMA, "task": list(task), "digest": self._digest_of(task), "result": result}
        write_whole(path, json_text(kept))

    def _path(self, task: Task) -> Path:
        return self._folder / f"{safe_name('.'.join(task))}.json"


class KeptAnswers:
    """One JSON line for each answer, appended as it comes; the first line says what all of them belong to.

    A file of another evaluation is begun anew; a line that a crash has cut is dropped. Faults are not kept. Use it as
    a context manager.

    Args:
        path: of the file; made with its folder.
        digest: of everything that the answers depend on besides their prompt.
        beside: files of other processes, which are read only: what any of them kept is known to all, so that an
            evaluation may go on in another number of processes.
    """

    def __init__(self, path: Path, digest: str, beside: Iterable[Path] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._answers = _read(path, digest)
        draft = path.with_name(path.name + ".new")
        with draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps({"schema": "gift-answers/1", "digest": digest}) + "\n")
            file.writelines(_line(key, answer) for key, answer in self._answers.items())
        draft.replace(path)
        for other in beside:
            self._answers = _read(other, digest) | self._answers
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def find(self, questions: Sequence[Question]) -> dict[int, Answer]:
        """Answers that are here, by index of their question."""
        keys = [_key(question) for question in questions]
        return {index: self._answers[key] for index, key in enumerate(keys) if key in self._answers}

    def add(self, questions: Sequence[Question], answers: Mapping[int, Answer]) -> None:
        """Keep answers, by index of their question, and hand them to the operating system."""
        for index, answer in answers.items():
            if answer.fault is None:
                self._answers[_key(questions[index])] = answer
                self._file.write(_line(_key(questions[index]), answer))
        self._file.flush()


def _key(question: Question) -> str:
    name = "/".join(map(str, question.key))
    rest = f"{question.max_tokens} {question.temperature!r} {list(question.until)}"
    return f"{name} {prompt_hash(question.prompt)} {rest}"


def _line(key: str, answer: Answer) -> str:
    row = {"key": key, "text": answer.text, "truncated": answer.truncated, "prompt_cut": answer.prompt_cut}
    return json.dumps(row, ensure_ascii=False) + "\n"


def _read(path: Path, digest: str) -> dict[str, Answer]:
    if not path.is_file():
        return {}
    rows = [row for line in path.read_bytes().split(b"\n") if (row := _row(line)) is not None]
    if not rows or rows[0].get("digest") != digest:
        return {}
    return {row["key"]: Answer(row["text"], row["truncated"], row["prompt_cut"]) for row in rows[1:]}


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        return json.loads(line) if line else None
    except ValueError:
        return None
