"""Runs the real thing on a GPU and checks it: a pre-trained chat model of about 0.5B, with LoRA and with all weights.

python scripts/accept_gpu.py MODEL [--out docs/accept_gpu.log] [--steps 10]

MODEL is a model id of the hub (or of its local cache) or a folder with a chat template. Each way is one `gift run` in
bf16 over TicTacToe against minimax and matrix games. Checked are the exit code, that every loss is finite, the k3 KL
between engine and trainer, the peak of allocated GPU memory against the plan's estimate, and that transformers loads
what the stage left. The log has a line for each check.

Exit codes: 0 all passed, 1 a check failed, 2 wrong arguments, 4 there is no GPU or no such model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NoReturn

from gift_dsl.artifacts.lines import read_lines

MOST_KL: Final = 1e-3
MEMORY_TOLERANCE: Final = 0.25
WAYS: Final[Mapping[str, str]] = {"lora": "lora: {rank: 16}", "full": "gradient_checkpointing: true"}
SPEC: Final = """\
gift: 1
name: accept-%(way)s
seed: 1
model: {source: %(model)s, %(options)s}
precision: bf16
games:
  tictactoe: {type: tictactoe, opponents: rival}
  matrix:    {type: matrix_games}
opponents:
  rival: {type: minimax}
rollout: {max_tokens_per_turn: 128}
stages:
  - {name: play, type: grpo, play: {any_of: [tictactoe, matrix]}, until: {steps: %(steps)d}}
algorithm: {keep: 1.0, groups_per_step: 8, group_size: 8, mini_batch_size: 64, learning_rate: 0.000001}
resources: {micro_batch_size: 4}
output: {dir: %(runs)s, save_every: %(steps)d}
"""
# Every Python process imports `sitecustomize` where there is one: the training processes report their peak by it.
WATCH: Final = """\
import atexit, os, sys
def _report():
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with open(os.path.join(os.environ["ACCEPT_PEAKS"], str(os.getpid())), "w") as file:
            file.write(str(torch.cuda.max_memory_allocated()))
atexit.register(_report)
"""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the log.

    Attributes:
        what: is checked.
        passed: None: it could not be measured.
        found: the number or text that says so.
    """

    what: str
    passed: bool | None
    found: str

    def __str__(self) -> str:
        word = {True: "ok", False: "FAILED", None: "not measured"}[self.passed]
        return f"{word}: {self.what}: {self.found}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Check both ways; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", help="id or folder of a pre-trained chat model of about 0.5B")
    parser.add_argument("--out", type=Path, default=Path("docs/accept_gpu.log"), help="the log")
    parser.add_argument("--steps", type=_positive, default=10, help="optimizer steps of each run [10]")
    given = parser.parse_args(arguments)
    model = checked_model(given.model)
    device = checked_device()
    lines = [
        f"model {Path(given.model).name if Path(given.model).is_dir() else given.model}, {given.steps} steps, {device}",
        ", ".join(f"{name} {version(name)}" for name in ("gift-dsl", "torch", "transformers", "trl", "peft")),
    ]
    passed = True
    for way in WAYS:
        with tempfile.TemporaryDirectory() as folder:
            for check in checks(way, model, given.steps, Path(folder)):
                lines.append(f"{way}: {check}")
                print(lines[-1], flush=True)
                passed = passed and check.passed is not False
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text("\n".join([*lines, "accepted" if passed else "NOT accepted"]) + "\n", encoding="utf-8")
    return 0 if passed else 1


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def refuse(message: str) -> NoReturn:
    """End with the code for a machine that lacks something."""
    print(f"accept_gpu: {message}", file=sys.stderr)
    raise SystemExit(4)


def checked_model(source: str) -> str:
    """The model as a spec names it: its id, or the absolute path of its folder."""
    folder = Path(source)
    if folder.is_dir():
        for name in ("config.json", "tokenizer_config.json"):
            if not (folder / name).is_file():
                refuse(f"{source} is no model: it has no {name}")
        return str(folder.resolve())
    if source.startswith((".", "/")) or source.count("/") > 1:
        refuse(f"there is no folder {source}")
    return source


def checked_device() -> str:
    """Name of the GPU."""
    import torch

    if not torch.cuda.is_available():
        refuse("there is no GPU that torch can use; nothing was run")
    return torch.cuda.get_device_name()


def checks(way: str, model: str, steps: int, folder: Path) -> Iterator[Check]:
    """Run one way in a folder, and look at what it left."""
    values = {"way": way, "model": json.dumps(model), "options": WAYS[way], "steps": steps}
    spec = folder / "spec.yaml"
    spec.write_text(SPEC % {**values, "runs": json.dumps(str(folder / "runs"))}, encoding="utf-8")
    (folder / "watch").mkdir()
    (folder / "peaks").mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH, encoding="utf-8")
    planned = gift("plan", spec, folder)
    yield Check("exit code of gift plan", planned.returncode == 0, str(planned.returncode))
    done = gift("run", spec, folder)
    yield Check("exit code of gift run", done.returncode == 0, str(done.returncode))
    if planned.returncode or done.returncode:
        return
    run = Path(json.loads(done.stdout)["run"])
    yield from check_steps(list(read_lines(run / "metrics.jsonl")), steps)
    peaks = [int(path.read_text()) / 2**30 for path in (folder / "peaks").iterdir()]
    yield check_memory(peaks, json.loads(planned.stdout).get("memory_gib"))
    yield check_loads(run / "stages" / "play")


def gift(command: str, spec: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """One of our commands; what it says on stderr is shown."""
    path = os.pathsep.join(filter(None, (str(folder / "watch"), os.environ.get("PYTHONPATH"))))
    return subprocess.run(
        [sys.executable, "-m", "gift_dsl", command, str(spec), "--json"],
        env={**os.environ, "PYTHONPATH": path, "ACCEPT_PEAKS": str(folder / "peaks")},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


def check_steps(records: Sequence[Mapping[str, Any]], steps: int) -> Iterator[Check]:
    """What metrics.jsonl says; a number that is not finite is null there."""
    yield Check("steps", len(records) == steps, f"{len(records)} of {steps}")
    losses = [record["update/loss"] for record in records if "update/loss" in record]
    finite = [loss for loss in losses if loss is not None]
    span = f", {min(finite):.3g} to {max(finite):.3g}" if finite else ""
    yield Check(
        "finite losses", bool(losses) and len(finite) == len(losses), f"{len(finite)} of {len(losses)} updates{span}"
    )
    found = [record["mismatch/kl"] for record in records if "mismatch/kl" in record]
    numbers = [value for value in found if value is not None]
    passed = bool(found) and len(numbers) == len(found) and max(numbers) < MOST_KL
    worst = f"at most {max(numbers):.3g} in {len(found)} updates" if numbers else "none was logged"
    yield Check(f"k3 KL of engine and trainer below {MOST_KL:g}", passed, worst)


def check_memory(peaks: Sequence[float], planned: Mapping[str, float] | None) -> Check:
    """The largest allocation of a process in GiB against the plan's, which leaves out context and fragmentation."""
    what = f"peak of GPU memory within {MEMORY_TOLERANCE:.0%} of the plan"
    if not peaks or planned is None:
        return Check(what, None, "no process reported its peak" if not peaks else "the plan has no estimate")
    ratio = max(peaks) / planned["peak"]
    return Check(what, abs(ratio - 1) <= MEMORY_TOLERANCE, f"{max(peaks):.2f} GiB, {ratio:.2f} of {planned['peak']:g}")


def check_loads(folder: Path) -> Check:
    """What the stage handed over is a model for transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        model = AutoModelForCausalLM.from_pretrained(folder)
        AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError) as error:
        return Check("from_pretrained of the stage's model", False, f"{type(error).__name__}: {error}")
    weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return Check("from_pretrained of the stage's model", True, f"{weights:.0f}M weights")


if __name__ == "__main__":
    sys.exit(main())
