"""`model.tokenizer`: a folder beside the spec, or a hub id, looked at before anything is loaded."""

from __future__ import annotations

import shutil

import pytest

from gift_dsl.errors import MachineError
from tests.engines.test_load import save
from tests.run.small import here
from tests.run.test_models import SIZES
from tests.run.test_models import SPEC as REAL

SPEC = REAL.replace("source: ./model,", "source: ./model, tokenizer: ./words,")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model without a tokenizer, and a tokenizer in a folder of its own."""
    root = tmp_path_factory.mktemp("apart")
    save(root / "model", **SIZES)
    (root / "words").mkdir()
    for path in (root / "model").iterdir():
        if path.name.startswith(("tokenizer", "special", "chat")):
            path.rename(root / "words" / path.name)
    return root


@pytest.fixture
def folder(made, tmp_path):
    """The same, to be changed."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def refusal(folder):
    """Why a run does not begin."""
    with pytest.raises(MachineError, match="this machine is not ready") as raised:
        here(folder, SPEC)
    assert not (folder / "runs").exists()
    return str(raised.value)


def test_a_tokenizer_beside_the_spec_is_found_from_any_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    outcome = here(folder, SPEC)
    assert outcome.exit_code == 0
    assert outcome.run.plan.model.tokenizer == "./words", "the plan says what the spec says"


def test_a_tokenizer_that_is_not_there_is_named(folder):
    shutil.rmtree(folder / "words")
    assert f"the tokenizer folder ./words does not exist (looked for {folder / 'words'})" in refusal(folder)


def test_a_folder_without_a_tokenizer_is_named(folder):
    (folder / "words" / "tokenizer_config.json").unlink()
    assert f"{folder / 'words'} holds no tokenizer: there is no tokenizer_config.json" in refusal(folder)


def test_a_tokenizer_apart_without_a_chat_template_is_refused_with_the_repair(folder):
    (folder / "words" / "chat_template.jinja").unlink()
    assert "has no chat template; give one with `model.chat_template`" in refusal(folder)
