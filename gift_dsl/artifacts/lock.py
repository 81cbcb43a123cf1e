"""lock.json: what a run depends on besides its plan. Versions, machine, seeds and fingerprints; never a secret."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

import gift_dsl
from gift_dsl.plan import FilePrint, JsonMap, OpponentPlan, Plan, plan_hash, to_json

LOCK_SCHEMA: Final = "gift-lock/1"

# The packages whose versions decide numbers: what is sampled, trained, rendered and graded.
PACKAGES: Final = (
    "accelerate",
    "datasets",
    "deepspeed",
    "jinja2",
    "lm-eval",
    "math-verify",
    "numpy",
    "peft",
    "pydantic",
    "scipy",
    "sympy",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "vllm",
)

_ASK_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What the caller knows of the machine and this file cannot see without torch.

    Attributes:
        processes: ranks of the run.
        threads: threads of each rank's arithmetic.
        devices: names of the accelerators; empty on a CPU.
        driver: version of the accelerators' driver, None on a CPU.
        deterministic: flags that decide whether a repetition is bit-equal, by name.
    """

    processes: int
    threads: int
    devices: tuple[str, ...] = ()
    driver: str | None = None
    deterministic: Mapping[str, bool | str] | None = None


def make_lock(plan: Plan, machine: Machine) -> dict[str, Any]:
    """Everything outside the plan that can change a result, as plain JSON data.

    Of environment variables only the names that the plan refers to are in it, never a value.
    """
    return {
        "schema": LOCK_SCHEMA,
        "spec_hash": plan.spec_hash,
        "plan_hash": plan_hash(plan),
        "gift": {"version": gift_dsl.__version__, **git_state(Path(gift_dsl.__file__).resolve().parent)},
        "python": platform.python_version(),
        "packages": package_versions(),
        "platform": {
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "libc": "-".join(platform.libc_ver()),
            "byteorder": sys.byteorder,
            "cpus": os.cpu_count(),
        },
        "processes": machine.processes,
        "threads": machine.threads,
        "devices": list(machine.devices),
        "driver": machine.driver,
        "deterministic": dict(machine.deterministic or {}),
        "seeds": {"seed": plan.seed, "evaluation": plan.evaluation.seed},
        "model": to_json(plan.model.print),
        "tokenizer": to_json(plan.model.tokenizer_print),
        "data": {item.name: to_json(item) for item in _data(plan)},
        "opponents": {player.name: _opponent(player) for player in plan.opponents},
        "environment": sorted(set(_env_names(to_json(plan.opponents)))),
    }


def _data(plan: Plan) -> Iterator[FilePrint]:
    yield from (game.data for game in plan.games if game.data is not None)
    for stage in plan.stages:
        yield from stage.data_prints


def _opponent(player: OpponentPlan) -> dict[str, Any]:
    """What names the model behind an opponent, and the digest of weights; how it is sampled is in the plan."""
    named = {key: player.params[key] for key in ("model", "source", "revision") if key in player.params}
    weights = {} if player.print is None else {"sha256": player.print.sha256}
    return named | weights | {"type": player.type}


def _env_names(value: object) -> Iterator[str]:
    """Values of the keys that name an environment variable."""
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            if key.endswith("_env") and isinstance(item, str):
                yield item
            else:
                yield from _env_names(item)
    elif isinstance(value, list | tuple):
        for item in cast("list[object]", value):
            yield from _env_names(item)


def package_versions() -> dict[str, str | None]:
    """Installed versions of the packages that decide results; None where one is not installed. Imports none."""
    found: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """The commit of a checkout and whether files differ from it; both None for an installed package."""
    unknown: dict[str, Any] = {"git_sha": None, "git_dirty": None}
    # Only our own checkout: a package inside somebody's virtual environment lies in somebody else's repository.
    if not (folder.parent / "pyproject.toml").is_file() or not (folder.parent / ".git").exists():
        return unknown
    sha = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", ":/")
    if sha is None or not re.fullmatch(r"[0-9a-f]{40,64}", sha) or changes is None:
        return unknown
    return {"git_sha": sha, "git_dirty": bool(changes)}


def _git(folder: Path, *words: str) -> str | None:
    return _said(["git", "-C", str(folder), "--no-optional-locks", *words])


def accelerators() -> tuple[tuple[str, ...], str | None]:
    """Names of NVIDIA's accelerators in this machine and the version of their driver, without importing torch."""
    said = _said(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"])
    rows = [line.rpartition(", ") for line in (said or "").splitlines()]
    return tuple(name for name, _, _ in rows), rows[0][2] if rows else None


def _said(command: Sequence[str]) -> str | None:
    """What another program writes; None where it is not there, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASK_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Difference:
    """A value of a lock that changed; `key` is its dotted path. None stands for a key that is not there."""

    key: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.old} -> {self.new}"


def differences(old: JsonMap, new: JsonMap) -> list[Difference]:
    """What differs between two locks, in order of key."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    keys = sorted(before.keys() | after.keys())
    return [Difference(key, before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)]


def _leaves(value: JsonMap, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(cast("JsonMap", item), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", item
