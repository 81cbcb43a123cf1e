"""Which of lm-eval's 14,000 task files can say what a name means, found by their text.

Its own index parses all of them, which takes seconds; reading them does not. What is found is more than is needed and
never less: every file in which a name stands where tasks, groups and tags are named, its own lines or included ones.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_VALUE: Final = r"""["']?\s*:(?P<value>.*(?:\n[ \t]*(?:-|#).*)*)"""
"""Of a key at the beginning of a line: the rest of it, and the items of a list below."""
_NAMING: Final = re.compile(rf"""^["']?(?:task|group|tag){_VALUE}""", re.MULTILINE)
_INCLUDING: Final = re.compile(rf"""^["']?include{_VALUE}""", re.MULTILINE)
_WORD: Final = re.compile(r"""[^\s,\[\]{}"'#]+""")


class TaskFiles:
    """The YAML files below a folder, by the names that they hold.

    Args:
        root: of the files.
    """

    def __init__(self, root: Path) -> None:
        self._words: dict[str, frozenset[str]] = {}
        self._files: defaultdict[str, list[Path]] = defaultdict(list)
        for path in sorted(_yaml_files(root)):
            for word in self._words_of(path, ()):
                self._files[word].append(Path(path))

    def holding(self, name: str) -> Sequence[Path]:
        """The files that a name stands in, sorted."""
        return self._files.get(name, ())

    def like(self, part: str) -> list[str]:
        """Words that contain a text, sorted: names among them."""
        return sorted(word for word in self._files if part in word)

    def _words_of(self, path: str, including: tuple[str, ...]) -> frozenset[str]:
        """Words of a file and of all that it includes; a circle ends where it began."""
        if path in self._words or path in including:
            return self._words.get(path, frozenset())
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return frozenset()
        words = set(_words_after(_NAMING, text))
        for name in _words_after(_INCLUDING, text):
            words |= self._words_of(os.path.join(os.path.dirname(path), name), (*including, path))  # noqa: PTH118, PTH120 - 14,000 times
        self._words[path] = frozenset(words)
        return self._words[path]


def _words_after(keys: re.Pattern[str], text: str) -> Iterator[str]:
    return (word for match in keys.finditer(text) for word in _WORD.findall(match["value"]))


def _yaml_files(root: Path) -> Iterator[str]:
    for folder, _, names in os.walk(root):
        yield from (os.path.join(folder, name) for name in names if name.endswith(".yaml"))  # noqa: PTH118
