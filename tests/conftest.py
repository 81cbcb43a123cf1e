from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

# No example is timed: a busy machine is no reason to fail. In CI the examples are the same each time, so that a red
# run can be repeated; elsewhere they are new ones, and those that failed are tried again first.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser):
    parser.addoption("--accept", action="store_true", help="rewrite golden files; read the difference in review")
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("gpu: no accelerator on this machine")


@pytest.fixture
def golden(request) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, byte for byte; `--accept` writes the file instead."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--accept"):
            path.write_bytes(text.encode())
        assert path.is_file(), f"{path} is missing: write it with pytest --accept, then read it"
        assert text == path.read_bytes().decode(), f"{path} differs: if the new text is right, run pytest --accept"

    return check
