"""Nothing calls home, and libraries say nothing that users need not know."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

from gift_dsl.run import stage
from gift_dsl.run.processes import _environment, quiet_environment
from gift_dsl.run.request import Stop
from gift_dsl.run.worker import quieten


def test_every_process_of_a_stage_is_told_to_send_no_telemetry(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "0")
    for rank in (0, 1):
        environment = _environment(rank, 2, 1234)
        assert environment["HF_HUB_DISABLE_TELEMETRY"] == "1"
        assert (environment["RANK"], environment["WORLD_SIZE"]) == (str(rank), "2")


def test_the_libraries_understand_it(monkeypatch):
    import importlib

    from huggingface_hub import constants

    for name, value in quiet_environment().items():
        monkeypatch.setenv(name, value)
    assert importlib.reload(constants).HF_HUB_DISABLE_TELEMETRY
    monkeypatch.undo()
    importlib.reload(constants)


@pytest.fixture
def quiet():
    """The filters of a process of a stage, for one test."""
    logger = logging.getLogger("transformers.trainer_utils")
    before = list(logger.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        quieten()
        yield seen
    logger.filters[:] = before


def test_what_only_developers_need_to_know_is_not_shown(quiet, caplog):
    warnings.warn("`is_gradient_checkpointing` is deprecated and will be removed in v6.", FutureWarning, stacklevel=1)
    logger = logging.getLogger("transformers.trainer_utils")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, logger=logger.name):  # a trainer of another test may have silenced it
            logger.warning("The tokenizer has new PAD/BOS/EOS tokens that differ from the model config")
            logger.warning("mtime may not be reliable on this filesystem")
    finally:
        logger.removeHandler(caplog.handler)
    assert quiet == []
    assert {record.message for record in caplog.records} == {"mtime may not be reliable on this filesystem"}


@pytest.mark.parametrize("category", [UserWarning, FutureWarning])
def test_what_nobody_has_looked_at_yet_is_shown(quiet, category):
    warnings.warn("the gradients of this layer are wrong", category, stacklevel=1)
    assert [str(one.message) for one in quiet] == ["the gradients of this layer are wrong"]


def test_each_process_computes_with_the_threads_of_the_lock_whatever_accelerate_takes(finished, monkeypatch):
    join, before = stage.join_ranks, torch.get_num_threads()

    def join_with_threads():
        torch.set_num_threads(int(finished.run.lock["threads"]) + 1)
        return join()

    monkeypatch.setattr(stage, "join_ranks", join_with_threads)
    try:
        stage.open_session(finished.run, Stop())
        assert torch.get_num_threads() == finished.run.lock["threads"]
    finally:
        torch.set_num_threads(before)
