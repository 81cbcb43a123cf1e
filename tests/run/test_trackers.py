"""Trackers mirror metrics.jsonl. None is installed here, so stand-ins of accelerate's kind, or below it, are told."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from accelerate import PartialState, tracking

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.errors import MachineError
from gift_dsl.run.trackers import Trackers
from tests.run.small import SPEC, here, steps

TOLD = f"{SPEC}trackers: [wandb]\n".replace("steps: 4", "steps: 1").replace(
    "  final: {rounds: 8, checkpoints: [final, 1, best]}\n", ""
)


class Fake(tracking.GeneralTracker):
    name, requires_logging_directory, main_process_only = "wandb", False, True
    logged: ClassVar[list] = []

    def __init__(self, run_name, **options):
        self.run_name, self.options = run_name, options

    def start(self):
        self.logged.append((self.run_name, self.options["mode"]))

    def store_init_configuration(self, values):
        self.logged.append(values["seed"])

    def log(self, values, step, **_):
        self.logged.append((step, values))

    def finish(self):
        self.logged.append("finished")

    @property
    def tracker(self):
        return None


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """A package by the name of one, and accelerate's class for it."""
    (tmp_path / "wandb.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(Fake, "logged", [])
    return Fake.logged


def test_a_tracker_that_is_not_installed_is_named_before_anything_begins(tmp_path):
    with pytest.raises(MachineError, match="the tracker `wandb` is not installed: `pip install wandb`"):
        here(tmp_path, TOLD)
    assert not (tmp_path / "runs").exists()


def test_a_tracker_is_told_every_number_of_every_step(tmp_path, fake):
    outcome = here(tmp_path, TOLD)
    assert outcome.exit_code == 0
    told = [one for one in fake if isinstance(one, tuple) and isinstance(one[0], int)]
    assert [number for number, _ in told] == list(range(len(steps(outcome.run))))
    assert fake[:2] == [("small", "offline"), 3]
    assert fake.count("finished") == 2, "once a stage"
    assert told[0][1]["loss"] > 0
    assert told[-1][1]["return"] <= 1
    assert all(isinstance(value, float) for _, values in told for value in values.values())


def test_trackio_is_told_to_write_in_the_run(tmp_path, monkeypatch):
    seen = []

    class Trackio(Fake):
        def start(self):
            seen.append(os.environ["TRACKIO_DIR"])

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "trackio", Trackio)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "elsewhere"))
    (plan,) = api.compile_spec("spec.yaml", f"{SPEC}trackers: [trackio]\n")
    run = create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))
    Trackers(run, plan).close()
    assert seen == [str(run.path / "trackers")]
    assert (run.path / "trackers").is_dir()


class Writer:
    """In place of tensorboard's: what accelerate's own class says to it."""

    made: ClassVar[list] = []

    def __init__(self, folder, **options):
        self.folder, self.options, self.told = folder, options, []
        self.made.append(self)

    def add_hparams(self, values, metric_dict):
        self.told.append(("config", dict(values)))

    def add_scalar(self, name, value, global_step):
        self.told.append((name, value, global_step))

    def flush(self):
        """Nothing is kept back here."""

    def close(self):
        self.told.append("closed")


def test_tensorboard_is_told_every_session_in_one_folder_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.utils, "tensorboard", SimpleNamespace(SummaryWriter=Writer), raising=False)
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setattr(PartialState, "_shared_state", {})  # accelerate's class asks which process this is
    (plan,) = api.compile_spec("spec.yaml", f"{SPEC}trackers: [tensorboard]\n")
    run = create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))
    for number in (0, 1):
        trackers = Trackers(run, plan)
        trackers.log({"return": 0.5, "stage": "nested", "steps": number}, number)
        trackers.close()
    config = ("config", {"seed": 3, "spec_hash": plan.spec_hash})
    assert [writer.told for writer in Writer.made] == [
        [config, ("return", 0.5, number), ("steps", float(number), number), "closed"] for number in (0, 1)
    ]
    folder = str(run.path / "trackers" / "small")
    assert [(writer.folder, writer.options) for writer in Writer.made] == [(folder, {}), (folder, {})]
    (kept, _) = (run.path / "trackers" / "small").glob("*/hparams.yml")
    assert f"spec_hash: {plan.spec_hash}" in kept.read_text()


@pytest.mark.parametrize(("name", "own"), [("wandb", {"mode", "dir", "id"}), ("trackio", set())])
def test_all_sessions_of_a_run_are_one_run_of_a_tracker(tmp_path, monkeypatch, name, own):
    seen = []

    class Seen(Fake):
        def start(self):
            seen.append((self.run_name, self.options))

    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, name, Seen)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    (plan,) = api.compile_spec("spec.yaml", f"{SPEC}trackers: [{name}]\n")
    run = create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))
    Trackers(run, plan).close()
    ((project, options),) = seen
    assert project == "small"
    told = {"mode": "offline", "dir": str(run.path / "trackers"), "id": run.path.name}
    assert options == {"name": run.path.name, "resume": "allow", **{key: told[key] for key in own}}


def test_without_trackers_nothing_is_written(tmp_path):
    (plan,) = api.compile_spec("spec.yaml", SPEC)
    run = create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))
    trackers = Trackers(run, plan)
    trackers.log({"return": 1.0}, 0)
    trackers.close()
    assert not (run.path / "trackers").exists()
