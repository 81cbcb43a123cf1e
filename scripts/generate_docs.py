"""Write what the sources already say: docs/language.md, docs/diagnostics.md, and the schema that editors read.

python scripts/generate_docs.py           write them
python scripts/generate_docs.py --check   fail if one of them differs from what would be written
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the checkout that is documented, whatever else is installed

from gift_dsl.cli import app  # noqa: E402
from gift_dsl.spec.catalogue import BENCHMARK_NOTES, FILE_KEYS, PRESET_NOTES, all_game_types, summary  # noqa: E402
from gift_dsl.spec.codes import GROUPS, Code  # noqa: E402
from gift_dsl.spec.forms import fields_of  # noqa: E402
from gift_dsl.spec.models.algorithm import PRESETS  # noqa: E402
from gift_dsl.spec.models.fields import Strict  # noqa: E402
from gift_dsl.spec.models.games import GameSpec  # noqa: E402
from gift_dsl.spec.models.opponents import OPPONENT_TYPES, PREDEFINED  # noqa: E402
from gift_dsl.spec.models.spec import Spec  # noqa: E402
from gift_dsl.spec.models.stages import STAGE_TYPES, StageCommon  # noqa: E402
from gift_dsl.spec.reference import (  # noqa: E402
    BENCHMARK_TYPES,
    COMPOSITIONS,
    DEFAULT_PRESET,
    Entry,
    Step,
    below,
    preset_values,
    range_words,
    shown,
    type_words,
)
from gift_dsl.spec.schema import schema_text  # noqa: E402
from gift_dsl.spec.starters import SCHEMA_FILE  # noqa: E402

MADE: Final = "<!-- Made by scripts/generate_docs.py; change the sources, then run `make docs`. -->"
OVERRIDES: Final = ("algorithm", "rollout")

INTRO: Final = """\
# The language, version 1

A spec is one YAML file that describes one experiment. This page lists every key it may have. `gift explain KEY` says
the same in a terminal, and an editor with a YAML language server completes and checks a spec whose first line names
the schema that `gift init` writes (`gift schema --out FILE` writes it anywhere).

A key without a default need not be given unless it is marked **required**. A † marks what is no part of `spec_hash`:
it says where and how a run happens, and changes nothing of what is computed. Null and an absent key are the same.
"""

FILES: Final = """\
## How files become a spec

{keys}

Files merge as JSON Merge Patch does (RFC 7396): maps merge key by key, everything else is replaced, lists too, and
`null` drops a key. One rule is added: a patch with `all_of`, `any_of` or `in_turn` replaces a composition
whole, a part with options (`{play: ..., max_turns: ...}`) too; a patch with only options merges into what is there.

`--set PATH=VALUE` is such a patch at one place: `--set algorithm.group_size=8`, `--set 'stages[nested].until.steps=50'`
(a stage by its name or its number), `--set model.revision=` (drops it). The value is YAML.

An axis of a sweep is a path with a list of values, or with a map that names them. The runs are all combinations, the
last axis fastest, without those that `exclude` matches, then those that `add` lists. A run is called
`axis=value,axis=value`; `--only axis=value` chooses. An axis wins over everything else: defaults, then bases, the file,
`--set`, variables, axes.

```yaml
sweep:
  axes:
    seed: [1, 2, 3]
    stages[main].play: {mixed: {any_of: [a, b]}, nested: {all_of: [a, b]}}
  exclude: [{seed: 3, "stages[main].play": mixed}]
```
"""

COMPOSITION: Final = """\
## Compositions

`play` of a stage, and an entry of `games`, may be a composition; its parts are names of games, compositions, or parts
with options. `all_of` and `any_of` nest freely; `in_turn` stands at the top of a stage. A composition of one part is
that part.
"""


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    check: bool = parser.parse_args().check
    wrong = [path for path, text in documents().items() if not _same(path, text)]
    for path in wrong:
        if check:
            print(f"{path.relative_to(ROOT)} differs from the sources: run `make docs`, then read the difference")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(documents()[path], encoding="utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if wrong and check else 0


def documents() -> dict[Path, str]:
    """Each file that this script writes, with its text."""
    return {
        ROOT / "docs" / "language.md": "\n".join(language()),
        ROOT / "docs" / "diagnostics.md": "\n".join(diagnostics()),
        ROOT / SCHEMA_FILE: schema_text(),
    }


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


# ── tables ──


def cell(text: str) -> str:
    """A text as it may stand in a cell; what looks like a tag is shown, not read."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return " ".join("`".join(parts).split())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of Markdown, and the empty line after it."""
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(cell(text) for text in row)} |" for row in rows)
    yield ""


def key_table(entries: Iterable[Entry], prefix: str = "") -> Iterator[str]:
    """A row for each key: its name below `prefix`, what it may be, its default, what it is for."""
    rows = [
        (
            f"`{entry.path.removeprefix(prefix)}`" + ("" if entry.hashed else " †"),
            "; ".join(filter(None, (type_words(entry.item.forms), range_words(entry.item.forms)))),
            _default(entry),
            entry.item.description,
        )
        for entry in entries
    ]
    return table(("Key", "Value", "Default", "Meaning"), rows)


def _default(entry: Entry) -> str:
    if entry.item.required:
        return "**required**"
    value = preset_values(entry).get(DEFAULT_PRESET, entry.item.default)
    return "" if value is None else f"`{shown(value)}`"


def model_table(model: type[Strict], *, without: Iterable[str] = ()) -> Iterator[str]:
    """The keys of a model and of the maps in it; what overrides a section is not told again."""
    skip = {"type", *without}
    found = [entry for entry in below(model, (), (), hashed=True) if entry.steps[0].key not in skip]
    return key_table(entry for entry in found if len(entry.steps) == 1 or entry.steps[0].key not in OVERRIDES)


# ── docs/language.md ──


def language() -> Iterator[str]:
    """The page, line by line."""
    yield MADE
    yield INTRO
    yield "## The file\n"
    yield from key_table(entry for entry in below(Spec, (), (), hashed=True) if len(entry.steps) == 1)
    for name in ("model", "algorithm", "rollout", "evaluation", "resources", "limits", "output"):
        yield from section(name)
    yield from opponents()
    yield from games()
    yield COMPOSITION
    for name, model in COMPOSITIONS.items():
        yield f"### `{name}`\n\n{summary(model.__doc__)}\n"
        yield from model_table(model)
    yield from stages()
    rows = "\n".join(f"| `{name}` | {meaning} |" for name, meaning in FILE_KEYS.items())
    yield FILES.replace("{keys}", "| Key | Meaning |\n|---|---|\n" + rows)
    yield from commands()


def section(name: str) -> Iterator[str]:
    """One key of the root with all that is below it."""
    item = fields_of(Spec)[name]
    (model,) = item.models
    yield f"## `{name}`\n\n{summary(model.__doc__)}\n"
    found = below(model, (Step(name),), (), hashed=item.hashed)
    yield from key_table((entry for entry in found if entry.steps[1].key != "benchmarks"), f"{name}.")
    if name == "algorithm":
        yield from presets()
    if name == "evaluation":
        yield from benchmarks()


def presets() -> Iterator[str]:
    """What each preset says, side by side."""
    yield "### Presets\n"
    yield from table(("Preset", "What it is"), [(f"`{name}`", PRESET_NOTES[name]) for name in PRESETS])
    yield "A key that is left out has the value of the preset, and `gift` is the preset where none is named.\n"
    keys = list(next(iter(PRESETS.values())))
    rows = [(f"`{key}`", *(f"`{shown(values[key])}`" for values in PRESETS.values())) for key in keys]
    yield from table(("Key", *(f"`{name}`" for name in PRESETS)), rows)


def benchmarks() -> Iterator[str]:
    """Kinds of benchmarks."""
    yield "### `benchmarks`\n"
    yield "A list of names, or of maps with a `type`. A bare name is a benchmark of ours; `lm_eval` runs any task of"
    yield "lm-evaluation-harness under its own protocol.\n"
    yield from table(("Benchmark", "What it is"), [(f"`{name}`", note) for name, note in BENCHMARK_NOTES.items()])
    shown_models: set[type[Strict]] = set()
    for name, model in BENCHMARK_TYPES.items():
        if model not in shown_models:
            shown_models.add(model)
            names = ", ".join(f"`{other}`" for other, same in BENCHMARK_TYPES.items() if same is model)
            yield f"Keys of {names if ',' in names else f'`{name}`'}:\n"
            yield from model_table(model)


def opponents() -> Iterator[str]:
    """Kinds of opponents."""
    yield "## `opponents`\n"
    names = ", ".join(f"`{name}`" for name in PREDEFINED)
    yield f"Players that are not trained, by name. {names} need no definition: their type is their name.\n"
    yield from kinds(OPPONENT_TYPES)


def kinds(types: Mapping[str, type[Strict]], common: Iterable[str] = ()) -> Iterator[str]:
    """A heading and a table for each `type`."""
    for name, model in types.items():
        yield f"### `type: {name}`\n\n{summary(model.__doc__)}\n"
        if set(fields_of(model)) - {"type", *common}:
            yield from model_table(model, without=common)


def games() -> Iterator[str]:
    """Games: what all may say, families with their parameters, shipped games."""
    types = all_game_types()
    yield "## `games`\n\nGames and named compositions, by name. A game has a `type` (or a `file` that says it), the"
    yield "keys of every game, and the parameters of its family beside them.\n"
    yield "### Keys of every game\n"
    yield from model_table(GameSpec)
    yield "### Shipped games\n"
    made = [(f"`{game.name}`", f"`{game.family.name}`", _values(game.values), game.description)
            for game in types.values() if game.origin == "shipped"]  # fmt: skip
    yield from table(("Type", "Family", "What it sets", "What it is"), made)
    yield "Any of these parameters may be written in the spec, where they win.\n"
    for game in types.values():
        if game.origin == "family":
            yield f"### Family `{game.name}`\n\n{game.description}\n"
            yield from key_table(_params(game.name))


def _params(family: str) -> Iterator[Entry]:
    from gift_dsl.games.families import FAMILIES
    from gift_dsl.spec.derive import params_model

    return below(params_model(FAMILIES[family].params), (), (), hashed=True)


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}: {shown(value)}`" for key, value in values.items())


def stages() -> Iterator[str]:
    """Kinds of stages."""
    yield "## `stages`\n\nWhat is trained, in order. The `type` decides the trainer.\n"
    yield "### Keys of every stage\n"
    yield from model_table(StageCommon)
    yield from kinds(STAGE_TYPES, fields_of(StageCommon))


def commands() -> Iterator[str]:
    """`--help` of the command line, as it prints it."""
    yield "## Commands\n"
    yield "Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the spec is"
    yield "invalid, 4 this machine is not ready, 5 a difference was found.\n"
    names = [command.name or getattr(command.callback, "__name__", "") for command in app.registered_commands]
    for words in ((), *((name,) for name in names)):
        yield f"```\n$ gift {' '.join((*words, '--help'))}\n{_help(words)}\n```\n"


def _help(words: Sequence[str]) -> str:
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gift_dsl", *words, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.replace("python -m gift_dsl", "gift").strip()


# ── docs/diagnostics.md ──


def diagnostics() -> Iterator[str]:
    """A section for each code."""
    yield MADE
    yield "# Diagnostics\n"
    yield "What `gift validate` can find, by code. Codes are stable, messages are not. `gift explain CODE` prints the"
    yield "same. Each example is laid over a small valid spec and checked by a test.\n"
    for title, codes in GROUPS.items():
        yield f"## {title}\n"
        for name, code in codes.items():
            yield from diagnostic(name, code)


def diagnostic(name: str, code: Code) -> Iterator[str]:
    """Cause, example and repair of one code."""
    yield f"### `{name}`\n"
    yield f"{code.severity.capitalize()}. {code.cause}\n"
    yield f"```{'yaml' if code.run else 'text'}\n{code.example}\n```\n"
    for file, text in code.files.items():
        yield f"with `{file}`:\n\n```yaml\n{text.rstrip()}\n```\n"
    if code.options:
        yield f"with `{' '.join(code.options)}` on the command line.\n"
    yield f"Repair: {code.repair}\n"


if __name__ == "__main__":
    sys.exit(main())
