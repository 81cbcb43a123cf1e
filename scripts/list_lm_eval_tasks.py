"""Write gift_dsl/compiler/lm_eval_tasks.py: which tasks of the installed lm-eval ask for text, which for scores.

python scripts/list_lm_eval_tasks.py
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from textwrap import fill
from typing import Any, Final

import yaml

TARGET: Final = Path(__file__).resolve().parent.parent / "gift_dsl" / "compiler" / "lm_eval_tasks.py"
TEXT, SCORES = "text", "scores"
CLASSES: Final = {
    "squadv2": SCORES,  # asks for both
    "scrolls_quality": SCORES,
    "scrolls_contractnli": SCORES,
}
"""Tasks that are Python classes and score continuations, by reading them; the other classes ask for text (0.4.13)."""
SHORTEST: Final = 6
"""Letters of a beginning that stands for all names that have it: shorter ones say little of a name that is new."""

ENDINGS: Final = {"_generate_until": TEXT}
"""Endings by which lm-eval itself names a kind."""


class _Loader(yaml.CSafeLoader):
    """Reads `!function` as nothing."""


_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)


class Tasks:
    """Kinds of tasks, and what groups and tags hold."""

    def __init__(self, root: Path) -> None:
        self.files: dict[Path, dict[str, Any]] = {}
        self.kinds: dict[str, str] = {}
        self.groups: defaultdict[str, list[Any]] = defaultdict(list)
        for path in sorted(root.rglob("*.yaml")):
            self._add(path)

    def _load(self, path: Path) -> dict[str, Any]:
        if path not in self.files:
            found = yaml.load(path.read_text(encoding="utf-8"), _Loader) if path.is_file() else None
            self.files[path] = found if isinstance(found, dict) else {}
        return self.files[path]

    def _field(self, path: Path, key: str) -> Any:  # noqa: ANN401 - YAML
        """The value of a key of a file, or of those that it includes."""
        found = self._load(path)
        if key in found:
            return found[key]
        included = found.get("include") or []
        others = (self._field((path.parent / name).resolve(), key) for name in _listed(included))
        return next((other for other in others if other is not None), None)

    def _add(self, path: Path) -> None:
        found = self._load(path)
        task = found.get("task")
        if isinstance(found.get("group"), str) and isinstance(task, list):
            self.groups[found["group"]] += task
        elif isinstance(task, str):
            asked = self._field(path, "output_type") or "generate_until"
            self.kinds[task] = CLASSES.get(task) or (TEXT if asked == "generate_until" else SCORES)
            for tag in _listed(self._field(path, "tag") or []):
                self.groups[tag].append(task)

    def kinds_of(self, named: Any, above: tuple[str, ...] = ()) -> set[str]:  # noqa: ANN401 - YAML
        """The kinds of all tasks that a name, a list of names, or a task written out stands for."""
        if isinstance(named, dict):
            asked = named.get("output_type")
            return {TEXT if asked == "generate_until" else SCORES} if asked else self.kinds_of(named.get("task"), above)
        if isinstance(named, list):
            return {kind for one in named for kind in self.kinds_of(one, above)}
        if named in self.kinds:
            return {self.kinds[named]}
        return (
            self.kinds_of(self.groups[named], (*above, named)) if named in self.groups and named not in above else set()
        )

    def all(self) -> dict[str, str]:
        """What each name needs; a group needs log-likelihoods where one of its tasks does."""
        found = {name: self.kinds_of(name) for name in sorted({*self.kinds, *self.groups})}
        return {name: SCORES if SCORES in kinds else TEXT for name, kinds in found.items() if kinds}


def _listed(value: Any) -> list[str]:  # noqa: ANN401 - YAML
    return [value] if isinstance(value, str) else list(value)


def patterns(kinds: dict[str, str], names: Sequence[str], depth: int = 0) -> Iterator[tuple[str, str]]:
    """Names and beginnings (with `*`), each with its kind, that tell these names apart."""
    common = os.path.commonprefix(list(names))  # noqa: RUF071 - letters, not folders
    if len(names) == 1:
        yield names[0], kinds[names[0]]
    elif len({kinds[name] for name in names}) == 1 and len(common) >= SHORTEST:
        yield f"{common}*", kinds[names[0]]
    else:
        by_letter: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            by_letter[name[depth : depth + 1]].append(name)
        for letter in sorted(by_letter):
            yield from patterns(kinds, by_letter[letter], depth + 1)


def main() -> None:
    """Write the module."""
    spec = find_spec("lm_eval")
    assert spec is not None and spec.origin is not None, "install lm-eval first"  # noqa: PT018
    kinds = Tasks(Path(spec.origin).parent / "tasks").all()
    for ending, kind in ENDINGS.items():
        assert {kinds[name] for name in kinds if name.endswith(ending)} == {kind}, ending
    told = sorted(patterns(kinds, [name for name in sorted(kinds) if not name.endswith(tuple(ENDINGS))]))
    told += [(f"*{ending}", kind) for ending, kind in ENDINGS.items()]
    words = {kind: " ".join(name for name, own in told if own == kind) for kind in (TEXT, SCORES)}
    parts = [
        f'"""What tasks of lm-eval {version("lm_eval")} ask for: made by scripts/list_lm_eval_tasks.py, not by hand.\n',
        f"{len(kinds):,} names of tasks, groups and tags; `*` stands for any beginning or end. A group of both kinds\n"
        'needs scores.\n"""\n',
        "from typing import Final\n",
        f'VERSION: Final = "{version("lm_eval")}"\n',
        *(f'{kind.upper()}: Final = """\n{fill(words[kind], 118, break_on_hyphens=False)}\n"""\n' for kind in words),
    ]
    TARGET.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
