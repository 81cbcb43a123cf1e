"""Nothing calls home."""

from __future__ import annotations

from gift_dsl.run.processes import _environment, quiet_environment


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
