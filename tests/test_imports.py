"""What a command imports is what it costs, so it is a test; how long it takes is not."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "trl", "accelerate", "lm_eval", "datasets", "numpy", "scipy", "sympy", "pandas"}
SPEC = {"pydantic", "ruamel", "jinja2", "rich"}


def modules_after(*arguments: str) -> set[str]:
    """Top-level modules that a command has imported when it ends."""
    code = (
        "import sys, json, atexit\n"
        "names = lambda: json.dumps(sorted(m for m in sys.modules if '.' not in m))\n"
        "atexit.register(lambda: sys.stderr.write('MODULES' + names()))\n"
        f"sys.argv = ['gift', *{list(arguments)!r}]\n"
        "from gift_dsl.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("MODULES")[2]))


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_a_spec_is_checked_and_planned_without_heavy_libraries(command):
    assert not modules_after(command, "specs/quickstart.yaml") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["validate", "--help"]])
def test_help_imports_neither_heavy_libraries_nor_those_of_the_language(arguments):
    loaded = modules_after(*arguments)
    assert not loaded & HEAVY
    assert not loaded & (SPEC - {"pydantic"})  # typer reads a command's options with pydantic


def test_help_does_not_import_pydantic():
    assert "pydantic" not in modules_after("--help")


def test_a_spec_without_own_templates_is_checked_without_jinja():
    assert "jinja2" not in modules_after("validate", "specs/quickstart.yaml")


def test_the_public_names_are_exactly_these():
    import gift_dsl

    assert gift_dsl.__all__ == [
        "Checked",
        "Diagnostic",
        "Family",
        "FreeText",
        "Game",
        "GameFacts",
        "GiftError",
        "SpecError",
        "State",
        "__version__",
        "check_spec",
        "compile_spec",
    ]
    for name in gift_dsl.__all__:
        assert getattr(gift_dsl, name) is not None


def test_an_unknown_public_name_is_an_attribute_error():
    import gift_dsl

    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gift_dsl.nothing  # noqa: B018
