"""Whether this machine is ready for a plan: everything that is missing at once, before a model is loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.origins import with_origins
from gift_dsl.data import (
    TOKENIZER,
    digest_of_folder,
    fingerprint_dataset,
    fingerprint_model,
    fingerprint_tokenizer,
    is_local,
)
from gift_dsl.errors import GiftError, MachineError
from gift_dsl.plan import FilePrint, ModelPlan, OpponentPlan, Plan, missing_prints
from gift_dsl.players.look import check_server
from gift_dsl.players.make import FindKey, server_of
from gift_dsl.players.network import check_endpoint
from gift_dsl.players.openai import Endpoint
from gift_dsl.run.examine import read_splits
from gift_dsl.run.models import model_folder, opponent_model
from gift_dsl.run.seating import drawn_rows, seated_names
from gift_dsl.run.trackers import missing_trackers

_GIB = 2**30
_NO_URL = "`mode: serve` needs `base_url`, the server's address"


def fill_prints(plan: Plan) -> Plan:
    """The plan with the digests of hub files, which are downloaded for it.

    Raises:
        MachineError: a file cannot be had.
    """
    plan = with_origins(plan, digest_of_folder)  # another run may have ended since the spec was read
    if not missing_prints(plan):
        return plan
    if problems := [*_local(plan)]:  # before anything is downloaded
        raise _not_ready(problems)
    folder, model = Path(plan.runtime.folder), plan.model
    if model.print is not None and model.print.sha256 is None and model.source is not None:
        _download(model.source, model.revision, "model")
        model = replace(model, print=fingerprint_model(model.source, model.revision, folder))
    games = tuple(
        game if game.data is None or game.data.sha256 else replace(game, data=_data_print(game.params, folder))
        for game in plan.games
    )
    if model.tokenizer_print is not None and model.tokenizer_print.sha256 is None and model.tokenizer is not None:
        _download(model.tokenizer, None, "model", TOKENIZER)
        model = replace(model, tokenizer_print=fingerprint_tokenizer(model.tokenizer, folder))
    opponents = tuple(_with_print(opponent, folder) for opponent in plan.opponents)
    plan = replace(plan, model=model, games=games, opponents=opponents)
    if left := missing_prints(plan):
        raise _not_ready([f"{item.name}: {item.reason}" for item in left])
    return plan


def _with_print(opponent: OpponentPlan, folder: Path) -> OpponentPlan:
    params: Any = opponent.params
    if opponent.print is None or opponent.print.sha256 is not None or params.get("source") is None:
        return opponent
    _download(params["source"], params.get("revision"), "model")
    return replace(opponent, print=fingerprint_model(params["source"], params.get("revision"), folder))


def _not_ready(problems: Sequence[str]) -> MachineError:
    return MachineError("this machine is not ready:\n  " + "\n  ".join(problems))


def _local(plan: Plan) -> Iterator[str]:
    """Models and data that should be folders or files here, and are not."""
    yield from _model(plan)
    yield from _opponent_models(plan)
    for game in plan.games:
        dataset: Any = game.params.get("dataset") or {}
        source = str(dataset.get("source", ""))
        if is_local(source) and not (path := Path(plan.runtime.folder) / Path(source).expanduser()).exists():
            yield f"game `{game.name}`: the dataset {source} does not exist (looked for {path})"


def _data_print(params: Any, folder: Path) -> FilePrint:
    dataset = params["dataset"]
    _download(dataset["source"], dataset.get("revision"), "dataset")
    return fingerprint_dataset(dataset["source"], dataset.get("name"), dataset.get("revision"), folder)


def _download(source: str, revision: str | None, kind: str, ends: Sequence[str] = ()) -> None:
    if is_local(source):
        return
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    hub: Any = huggingface_hub  # its overloads are only half typed
    try:
        hub.snapshot_download(
            source, revision=revision, repo_type=kind, allow_patterns=[f"*{end}" for end in ends] or None
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise MachineError(f"the {kind} {source} is not on this machine and cannot be downloaded: {error}") from error


def check_machine(plan: Plan, find_key: FindKey, disk_gib: float | None) -> None:
    """Refuse a machine that lacks something.

    Args:
        plan: with all prints filled.
        find_key: gives the key of an endpoint, or raises.
        disk_gib: estimated need; None where it is not known.

    Raises:
        MachineError: with one line for everything that is missing.
    """
    checks: list[Callable[[Plan], Iterator[str]]] = [
        _sharding,
        _model,
        missing_trackers,
        _opponent_models,
        _datasets,
        _benchmarks,
        lambda one: _endpoints(one, find_key),
        _vllm,
    ]
    problems = [problem for check in checks for problem in check(plan)]
    problems += _disk(plan, disk_gib)
    if problems:
        raise _not_ready(problems)


def _sharding(plan: Plan) -> Iterator[str]:
    """What spreads the weights, where it is not torch itself."""
    resources = plan.runtime.resources
    sharding = resources["sharding"]
    if resources["processes"] > 1 and sharding in ("zero2", "zero3") and find_spec("deepspeed") is None:
        yield f"`resources.sharding: {sharding}` needs DeepSpeed on this machine: pip install 'gift-dsl[deepspeed]'"


def _opponent_models(plan: Plan) -> Iterator[str]:
    """Models of `local` opponents."""
    for opponent in plan.opponents:
        if opponent.type == "local":
            theirs = replace(plan, model=opponent_model(plan, opponent))
            for problem in _model(theirs, f"opponents.{opponent.name}"):
                yield f"opponent `{opponent.name}`: {problem}"


def _model(plan: Plan, who: str = "model") -> Iterator[str]:
    """Files that every local model has; what is in them is checked when it is loaded."""
    model, folder = plan.model, Path(plan.runtime.folder)
    if model.from_run is not None:
        try:
            model_folder(plan, who)
        except MachineError as error:
            yield str(error)
    if model.tokenizer is not None and is_local(model.tokenizer):
        yield from _tokenizer(model, folder / Path(model.tokenizer).expanduser())
    if model.source is None or model.tiny is not None or not is_local(model.source):
        return
    path = folder / Path(model.source).expanduser()
    if not path.is_dir():
        yield f"the model folder {model.source} does not exist (looked for {path})"
    else:
        yield from _files_of(model, path)


def _files_of(model: ModelPlan, path: Path) -> Iterator[str]:
    if not (path / "config.json").is_file():
        yield f"{path} holds no model in Hugging Face's format: there is no config.json"
    if not [*path.glob("*.safetensors"), *path.glob("*.bin")]:
        yield f"{path} holds no weights (*.safetensors)"
    if model.tokenizer is None:
        yield from _tokenizer(model, path)


def _tokenizer(model: ModelPlan, path: Path) -> Iterator[str]:
    if not path.is_dir():
        yield f"the tokenizer folder {model.tokenizer} does not exist (looked for {path})"
    elif not (path / "tokenizer_config.json").is_file():
        yield f"{path} holds no tokenizer: there is no tokenizer_config.json"
    elif model.chat_template is None and not _has_template(path):
        yield f"the tokenizer in {path} has no chat template; give one with `model.chat_template`"


def _has_template(path: Path) -> bool:
    if (path / "chat_template.jinja").is_file() or (path / "chat_template.json").is_file():
        return True
    return '"chat_template"' in (path / "tokenizer_config.json").read_text(encoding="utf-8", errors="replace")


def _datasets(plan: Plan) -> Iterator[str]:
    """Rows of every split that training, probes or the final test will draw from."""
    folder, splits = Path(plan.runtime.folder), read_splits(plan)
    for game in plan.games:
        try:
            drawn_rows(game, splits[game.name], folder)
        except GiftError as error:
            yield f"game `{game.name}`: {error}"


def _benchmarks(plan: Plan) -> Iterator[str]:
    if plan.evaluation.benchmarks:
        from gift_dsl.run.asked import benchmark_problems

        yield from benchmark_problems(plan)


def _endpoints(plan: Plan, find_key: FindKey) -> Iterator[str]:
    """Those that training or evaluation can ask: their keys, and whether they answer."""
    used = set(seated_names(plan, [game.name for game in plan.games])) | set(_named(plan))
    asked: dict[str, tuple[Endpoint, str | None]] = {}
    for opponent in plan.opponents:
        if opponent.type != "openai" or opponent.name not in used:
            continue
        key_name, base_url = server_of(opponent, plan.runtime.base_urls)
        try:
            asked[opponent.name] = Endpoint(base_url, find_key(key_name, base_url)), key_name
        except GiftError as error:
            yield f"opponent `{opponent.name}`: {error}"
    for name, problem in zip(asked, asyncio.run(_problems(check_server(*one) for one in asked.values())), strict=True):
        if problem is not None:
            yield f"opponent `{name}`: {problem}"


def _vllm(plan: Plan) -> Iterator[str]:
    """The rollout engine, where it is vLLM: installed, and its server listening."""
    vllm = plan.runtime.resources.get("vllm")
    if vllm is None:
        return
    if find_spec("vllm") is None:
        yield "`resources.vllm` needs vLLM on this machine: pip install 'gift-dsl[vllm]'"
    if vllm["mode"] == "serve":
        url = vllm.get("base_url")
        (problem,) = asyncio.run(_problems([check_endpoint(str(url))])) if url else (_NO_URL,)
        if problem is not None:
            yield f"`resources.vllm`: {problem}"


def _named(plan: Plan) -> Iterator[str]:
    """Opponents that only the evaluation seats: those of the final test, and judges."""
    if plan.evaluation.final is not None:
        yield from map(str, plan.evaluation.final.opponents.values())
    yield from (str(one["judge"]) for one in plan.evaluation.benchmarks if "judge" in one)


async def _problems(checks: Iterable[Coroutine[Any, Any, None]]) -> list[str | None]:
    """What each of several checks, made at once, has to say."""

    async def problem(check: Coroutine[Any, Any, None]) -> str | None:
        try:
            await check
        except MachineError as error:
            return str(error)
        return None

    return list(await asyncio.gather(*map(problem, checks)))


def _disk(plan: Plan, disk_gib: float | None) -> list[str]:
    place = Path(plan.runtime.folder) / str(plan.runtime.output["dir"])
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK):
        return [f"{place} cannot be written"]
    free = shutil.disk_usage(place).free / _GIB
    if disk_gib is not None and free < disk_gib:
        return [f"{place} has {_size(free)} free, and the run is estimated to need {_size(disk_gib)}"]
    return []


def _size(gib: float) -> str:
    return f"{gib:.1f} GiB" if gib >= 1 else f"{gib * 1024:.0f} MiB"
