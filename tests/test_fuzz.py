"""Random damage to every shipped spec: whatever is in the file, the answer is a list of findings with their places.

Inputs are drawn from seeds, so that a failure repeats; its message holds the seed and `damaged(path, seed)` makes the
text again. `GIFT_FUZZ=100 pytest tests/test_fuzz.py` tries a hundred times as many.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gift_dsl.api import Checked, check_spec
from gift_dsl.errors import Span
from gift_dsl.spec.compose import compose
from gift_dsl.spec.render import render_text, to_github, to_json
from tests.shipped import shipped_specs

ROOT = Path(__file__).parent.parent / "specs"
SPECS = shipped_specs(games=True)
NAMES = [str(path.relative_to(ROOT)) for path in SPECS]
TIMES = int(os.environ.get("GIFT_FUZZ", "1"))
HANG_S = 30

CHARACTERS = "abcxyz_AZ019 -:,.#&*!|>'\"%@`[]{}?\\\n\t\u00a0\u200b\u202e\u00e9\u6f22\U0001f3b2\x00\x1b$<=~+/"
TOKENS = [
    *(
        "{",
        "}",
        "[",
        "]",
        ": ",
        "- ",
        ", ",
        "? ",
        "&a ",
        "*a",
        "<<: *a",
        "!x ",
        "!!python/object:x ",
        "%YAML 1.1\n",
        "---\n",
    ),
    *("${vars.x}", "${x}", "$$", "${", "{{ x }}", "{% if %}", "null", "~", "true", "no", ".inf", ".nan", "1e400", "-1"),
    *(
        "0",
        "1.5",
        "99999999999999999999",
        "''",
        '"\\ud800"',
        '"\\x1b"',
        "|\n",
        ">-\n",
        "'",
        '"',
        "#",
        "\n\n",
        "\r\n",
        "\r",
    ),
    *("all_of", "any_of", "in_turn", "play", "type", "file", "games", "stages", "sweep", "axes", "vars", "extends"),
    *("fragment: true\n", "../", "x-a: &a {b: *a}\n", "hf_abcdefGHIJKLmnopQRSTuvwx", "http://u:p@h/v1", "2026-01-15"),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        3,
        1.5,
        -0.0,
        1e-6,
        1e308,
        10**15,
        10**19,
        "",
        "x",
        "no",
        "1",
        "${vars.x}",
        "random",
    ),
    *(
        "clue",
        "human",
        "self",
        "tiny",
        "math",
        "tictactoe",
        "all",
        "final",
        [],
        {},
        [None],
        [[]],
        [{}],
        {"": {}},
        {"type": "x"},
    ),
    *({"all_of": []}, {"all_of": ["x"]}, {"any_of": ["x", "x"]}, {"in_turn": ["x"]}, {"play": "x"}, {"type": "pool"}),
    *(
        [0, 1],
        [[0, 1], [1, 0]],
        {"x": {"x": {"x": 1}}},
        ["random", "random"],
        "a" * 300,
        "\x1b[31m",
        "\u202e",
        "\u00e9",
    ),
]


# ── damage ──


@lru_cache(maxsize=128)
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def damage_characters(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(text) + 1)
        cut = rng.choice([0, 0, 1, 1, 2, 8])
        text = text[:at] + "".join(rng.choices(CHARACTERS, k=rng.choice([0, 1, 1, 3]))) + text[at + cut :]
    return text


def damage_lines(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    for _ in range(rng.randint(1, 4)):
        at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(6):
            case 0:
                lines[at] = ""
            case 1:
                lines.insert(other, lines[at])
            case 2:
                lines[at], lines[other] = lines[other], lines[at]
            case 3:
                lines[at] = " " * rng.randint(1, 5) + lines[at]
            case 4:
                lines[at] = lines[at].lstrip()
            case _:
                lines[at] = lines[at].rstrip()[: rng.randint(0, 30)]
    return "\n".join(lines)


def damage_tokens(text: str, rng: random.Random) -> str:
    for _ in range(rng.randint(1, 4)):
        words = [match.span() for match in re.finditer(r"[\w.-]+|[^\w\s]", text)] or [(0, 0)]
        start, end = rng.choice(words)
        other = rng.choice(words)
        new = rng.choice([rng.choice(TOKENS), text[slice(*other)], ""])
        text = text[:start] + new + text[end:]
    return text


def maps_and_lists(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list) and value:
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from maps_and_lists(inner)


def damage_tree(data: Any, rng: random.Random) -> str:
    """Keys deleted, renamed and copied, values exchanged and replaced; written as JSON, which is YAML."""
    data = json.loads(json.dumps(data))
    for _ in range(rng.randint(1, 4)):
        holders = list(maps_and_lists(data))
        holder, other = rng.choice(holders), rng.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        others = list(other) if isinstance(other, dict) else list(range(len(other)))
        taken = json.loads(json.dumps(other[rng.choice(others)]))
        match rng.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[rng.choice(["x", "type", "play", *map(str, others), damage_characters(key, rng)])] = holder.pop(
                    key
                )
            case 2:
                holder[key] = taken
            case 3 if isinstance(holder, list):
                holder.insert(key, taken)
            case 4 if isinstance(holder, dict):
                holder[rng.choice([str(name) for name in others])] = taken
            case _:
                holder[key] = json.loads(json.dumps(rng.choice(VALUES)))
    return json.dumps(data, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))


@lru_cache(maxsize=128)
def composed(path: Path) -> Any:
    """The spec with its bases folded in, and its sweep and variables, as plain data."""
    found = compose(str(path))
    assert found.tree is not None
    extra = {"sweep": found.sweep, "vars": found.vars}
    return found.tree.plain() | {key: node.plain() for key, node in extra.items() if node is not None}


TEXT_DAMAGE: list[Callable[[str, random.Random], str]] = [damage_characters, damage_lines, damage_tokens]


def damaged(path: Path, seed: int) -> str:
    """The damaged text of a spec: one input of the tests below."""
    rng = random.Random(f"{path.name} {seed}")
    if rng.random() < 0.5:
        return damage_tree(composed(path), rng)
    return rng.choice(TEXT_DAMAGE)(text_of(path), rng)


# ── what must hold of any input ──


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Ends what never ends. No measurement: a slow machine has thirty seconds of its own time for each input."""
    if not hasattr(signal, "SIGVTALRM"):
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer within {HANG_S} s of CPU time")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def check_place(span: Span, sources: dict[str, str]) -> None:
    assert span.file in sources, span
    lines = re.split(r"\r\n|\n|\r", sources[span.file])
    assert 1 <= span.line <= span.end_line <= len(lines), span
    assert 1 <= span.column <= len(lines[span.line - 1]) + 1, span
    assert (span.line, span.column) <= (span.end_line, span.end_column), span


def check_answer(found: Checked) -> None:
    """Places inside their files, an answer in every form, and plans where there is no error."""
    for item in found.diagnostics:
        check_place(item.span, found.sources)
        for note in item.notes:
            if note.span is not None:
                check_place(note.span, found.sources)
        assert item.message
        assert item.severity in ("error", "warning")
    for ascii_only in (False, True):
        text = render_text(found.diagnostics, found.sources, ascii_only=ascii_only, width=60)
        assert text.replace("\n", "").isprintable()
    json.dumps(to_json(found.diagnostics))
    assert to_github(found.diagnostics).count("\n") == max(0, len(found.diagnostics) - 1)
    if found.ok and not found.fragment:
        assert len(found.plans()) == len(found.runs)
    elif not found.ok:
        assert any(item.severity == "error" for item in found.diagnostics)


@pytest.mark.parametrize("path", SPECS, ids=NAMES)
def test_damage_is_answered_with_findings_that_have_a_place(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    for seed in range(6 * TIMES):
        text = damaged(path, seed)
        try:
            with no_hang():
                check_answer(check_spec(path.name, text))
        except Exception as error:
            raise AssertionError(f"damaged({path}, {seed}): {type(error).__name__}: {error}\n{text}") from error


@pytest.mark.parametrize("path", SPECS, ids=NAMES)
def test_a_spec_cut_off_anywhere_is_answered(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    rng = random.Random(path.name)
    text = text_of(path)
    for cut in {rng.randrange(len(text)) for _ in range(2 * TIMES)}:
        with no_hang():
            check_answer(check_spec(path.name, text[:cut]))


@pytest.mark.parametrize("path", SPECS[:: max(1, len(SPECS) // 8)], ids=NAMES[:: max(1, len(SPECS) // 8)])
def test_any_override_is_answered(path, monkeypatch):
    """`--set` and `--only` are texts of a person, too."""
    monkeypatch.chdir(path.parent)
    rng = random.Random(path.name)
    for _ in range(6 * TIMES):
        paths = [
            "seed",
            "games.x",
            "stages[0].play",
            "stages[main]",
            "a..b",
            "",
            '"x',
            "sweep.axes.seed",
            "vars.x",
            "[0]",
        ]
        values = [json.dumps(rng.choice(VALUES)), rng.choice(TOKENS)]
        sets = [f"{damage_characters(rng.choice(paths), rng)}={rng.choice(values)}" for _ in range(2)]
        with no_hang():
            check_answer(check_spec(path.name, sets=sets, only=rng.choice([[], ["seed=1"], ["x"], ["="]])))


def test_bytes_that_are_no_text_are_answered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = random.Random(1)
    for _ in range(60 * TIMES):
        data = bytearray(text_of(SPECS[0]).encode())
        for _ in range(rng.randint(1, 9)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        (tmp_path / "spec.yaml").write_bytes(bytes(data))
        found = check_spec("spec.yaml")
        assert all(item.span.file == "spec.yaml" or item.span.file in found.sources for item in found.diagnostics)
        render_text(found.diagnostics, found.sources)
