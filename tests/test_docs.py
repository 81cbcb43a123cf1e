"""The pages that are made from the sources, and the codes that the sources emit."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.spec.codes import CODES, SMALLEST
from gift_dsl.spec.reference import entries
from gift_dsl.spec.starters import SCHEMA_FILE
from tests.shipped import shipped_specs

ROOT = Path(__file__).resolve().parent.parent
LANGUAGE = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
DIAGNOSTICS = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
SPECS = shipped_specs()

# What can emit a diagnostic. Words with a hyphen in it that are no codes are few and named.
EMITTERS = [
    *(path for path in (ROOT / "gift_dsl" / "spec").rglob("*.py") if path.name not in ("codes.py", "consequences.py")),
    *(ROOT / "gift_dsl" / "compiler").rglob("*.py"),
    *(ROOT / "gift_dsl" / "prompts").rglob("*.py"),
]
NO_CODES = {"all-linear", "utf-8", "utf-16-le", "vllm-colocate", "vllm-serve"}
BEGINNINGS = {"chat-template", "game-file", "prompt-file"}  # `-missing` and `-outside` follow
KEBAB = re.compile(r"[a-z]+(-[a-z0-9]+)+")

# Their cause is a file or a byte that an example cannot hold; tests of the reader and golden files show them.
NOT_RUN = {
    "best-not-kept",
    "extends-depth",
    "file-missing",
    "file-not-regular",
    "file-symlink",
    "file-too-large",
    "file-unreadable",
    "wrong-value",
    "yaml-encoding",
}


# ── generated files ──


def test_the_generated_files_are_those_that_the_sources_give():
    command = [sys.executable, str(ROOT / "scripts" / "generate_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "40"})
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_key_stands_in_the_language_page():
    assert [entry.path for entry in entries() if f"`{entry.item.name}`" not in LANGUAGE.replace(".", "`")] == []


def test_every_code_has_a_section():
    assert re.findall(r"^### `(.+)`$", DIAGNOSTICS, re.MULTILINE) == list(CODES)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_shipped_spec_names_the_schema_on_its_first_line(path):
    line = path.read_text(encoding="utf-8").splitlines()[0]
    named = line.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == ROOT / SCHEMA_FILE


# ── codes ──


def literals():
    """Every text in the sources, and every f-string as a pattern."""
    for path in EMITTERS:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, None
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else None for part in node.values]
                yield None, "".join("[a-z-]+" if part is None else re.escape(str(part)) for part in parts)


TEXTS = {text for text, _ in literals() if text is not None}
PATTERNS = {
    pattern for _, pattern in literals() if pattern is not None and re.search(r"\\-[a-z]{3}|[a-z]{3}\\-", pattern)
}


def test_every_code_that_the_sources_emit_is_described():
    assert {text for text in TEXTS if KEBAB.fullmatch(text)} - NO_CODES - BEGINNINGS - set(CODES) == set()


def test_every_code_that_is_described_is_emitted():
    made = {code for code in CODES for pattern in PATTERNS if re.fullmatch(pattern, code)}
    assert set(CODES) - TEXTS - made == set()


def test_codes_are_words_with_hyphens():
    assert [code for code in CODES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []


def test_only_examples_that_need_a_special_file_are_not_run():
    assert {name for name, code in CODES.items() if not code.run} == NOT_RUN


def laid_over(example):
    """The smallest spec with the top-level keys of an example instead of its own."""
    keys = set(re.findall(r"^([a-z_]+):", example, re.MULTILINE))
    kept = [line for line in SMALLEST.splitlines() if line.partition(":")[0] not in keys]
    return "\n".join([*kept, example, ""])


def test_the_spec_under_the_examples_is_right(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SMALLEST, encoding="utf-8")
    assert api.check_spec("spec.yaml").diagnostics == ()


@pytest.mark.parametrize("name", [name for name, code in CODES.items() if code.run])
def test_the_example_of_a_code_gives_that_code(name, tmp_path, monkeypatch):
    code = CODES[name]
    monkeypatch.chdir(tmp_path)
    for file, text in code.files.items():
        Path(file).write_text(text, encoding="utf-8")
    text = code.example if code.whole else laid_over(code.example)
    Path("spec.yaml").write_text(f"{text}\n", encoding="utf-8")
    options = dict(zip(code.options[::2], code.options[1::2], strict=True))
    sets, selected = options.get("--set"), options.get("--only")
    checked = api.check_spec("spec.yaml", sets=[sets] if sets else (), only=[selected] if selected else ())
    found = [(item.code, item.severity) for item in checked.diagnostics]
    assert (name, code.severity) in found
