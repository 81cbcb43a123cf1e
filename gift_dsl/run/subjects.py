# pyright: basic
"""Who is evaluated outside a run: the weights that a plan names, or a model behind an endpoint."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gift_dsl.artifacts.directory import RunDirectory, open_run
from gift_dsl.artifacts.origins import kept_model
from gift_dsl.data import fingerprint_model
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.plan import ModelPlan, OpponentPlan, Plan, digest, leaves
from gift_dsl.play.seats import Seat, model_player
from gift_dsl.players.make import Services, make_chat_settings, make_player
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.run.models import find_start, model_folder, model_here, opponent_folder, opponent_model
from gift_dsl.run.seating import rows_of

Make = Callable[[Plan, "str | Path", str, "str | None"], "Examinee"]
SeatOf = Callable[[Services], Seat]
"""Makes whoever sits down; players over HTTP need the connections of the event loop that asks them."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who is to be evaluated, as one process tells another.

    Attributes:
        run: directory of the run that keeps the model; None: the model that the plan begins with.
        checkpoint: of that run.
        opponent: name of an opponent of the plan that is evaluated instead.
    """

    run: str | None = None
    checkpoint: int | Literal["start", "best", "final"] | None = None
    opponent: str | None = None

    @property
    def label(self) -> str:
        """What its results are called after."""
        return self.opponent or str(self.checkpoint or "model")


@dataclass(frozen=True, slots=True, eq=False)
class Examinee:
    """Who is evaluated.

    Attributes:
        name: as results call it.
        kind: weights in this process, or a chat API.
        source: folder, hub id, or model at an address.
        identity: of the weights, or of what is sent to the endpoint; results of another one are not taken up again.
        thinking: what the chat template is told.
        seat: who plays, with the sampling of the evaluation.
        asked: who answers benchmarks.
    """

    name: str
    kind: Literal["model", "endpoint"]
    source: str
    identity: str
    thinking: str
    seat: SeatOf
    asked: Callable[[Services], Any]


@contextmanager
def find_examinee(plan: Plan, who: Who) -> Generator[Examinee]:
    """Whoever is to be evaluated; what is made for it goes again at the end of the block.

    The model of a spec with `resources.vllm: {mode: serve}` is asked of that server, if it is the one that is served.

    Raises:
        UsageError: the opponent is none of the plan, or no model.
        MachineError: the model is not there, or the server serves another.
    """
    vllm = plan.runtime.resources.get("vllm")
    if who.opponent is not None:
        final = plan.evaluation.final or plan.evaluation
        yield opponent_of_plan(plan, who.opponent, (final.temperature, final.max_tokens))
    elif who.run is not None and who.checkpoint is not None:
        yield model_of_run(open_run(Path(who.run)), plan, who.checkpoint)
    else:
        is_served = vllm is not None and vllm["mode"] == "serve"
        with model_of_plan(plan, served if is_served else weights) as examinee:
            yield examinee


@contextmanager
def find_start_of(plan: Plan, who: Who, examinee: Examinee) -> Generator[Examinee]:
    """The model that the last stage begins with; where nothing was trained yet, that is what the plan begins with.

    Args:
        plan: of the run or spec.
        who: is evaluated.
        examinee: as it was found, which may be that model.

    Raises:
        MachineError: it is not there.
    """
    if who.run is not None:
        yield weights(plan, find_start(open_run(Path(who.run)), plan, len(plan.stages) - 1), "start")
    elif who.opponent is None:
        yield examinee
    else:
        with model_of_plan(plan) as start:
            yield start


@contextmanager
def model_of_plan(plan: Plan, make: Make | None = None) -> Generator[Examinee]:
    """The model that a plan starts from, as it is written; the `tiny` preset is built in a folder that goes again.

    Args:
        plan: names it.
        make: from (plan, source, name, source as it is shown) to whoever is evaluated; None: `weights`.

    Raises:
        MachineError: it is not there.
    """
    model, folder, make = plan.model, Path(plan.runtime.folder), make or weights
    if model.tiny is not None:
        from gift_dsl.engines.tiny import build_tiny

        with tempfile.TemporaryDirectory(prefix="gift-") as made:
            rows = {game.name: rows_of(game, "train", folder) for game in plan.games}
            yield make(plan, build_tiny(plan, Path(made), rows), "tiny", "tiny")
        return
    if model.from_run is not None:
        yield make(plan, model_folder(plan), f"{model.from_run} ({model.from_step})", None)
        return
    from gift_dsl.engines.load import find_source

    yield make(plan, find_source(model, folder), str(model.source), None)


def model_of_run(run: RunDirectory, plan: Plan, checkpoint: int | Literal["start", "best", "final"]) -> Examinee:
    """A model that a run keeps.

    Args:
        run: its directory.
        plan: of the run.
        checkpoint: `start` is what it began with; a number is a step of its last stages.

    Raises:
        MachineError: the run did not come so far, or did not keep it.
    """
    if checkpoint == "start":
        return weights(plan, find_start(run, plan, 0), "start")
    return weights(plan, kept_model(run, checkpoint), f"{run.path.name} ({checkpoint})")


def opponent_of_plan(plan: Plan, name: str, sampling: tuple[float, int]) -> Examinee:
    """An `openai` or `local` opponent as the one that is evaluated.

    Args:
        plan: with the opponent.
        name: of it.
        sampling: temperature and most tokens of a turn, instead of its own.

    Raises:
        UsageError: there is no such opponent, or it is no model.
        MachineError: its weights are not there.
    """
    known = {item.name: item for item in plan.opponents}
    models = [item.name for item in plan.opponents if item.type in ("openai", "local")]
    if name not in models:
        what = f"has type `{known[name].type}`" if name in known else "is not an opponent of the spec"
        raise UsageError(
            f"`{name}` {what}; a subject is one of type `openai` or `local`: {', '.join(models) or 'none'}"
        )
    opponent = known[name]
    return _local(plan, opponent) if opponent.type == "local" else _endpoint(opponent, sampling)


def weights(plan: Plan, source: str | Path, name: str, shown: str | None = None) -> Examinee:
    """A model in this process, loaded now.

    Args:
        plan: formats of the model, its tokenizer and template.
        source: folder or hub id.
        name: as results call it.
        shown: as results call the source; None: as it is.

    Raises:
        MachineError: a file is missing, or the model cannot be run here.
    """
    from gift_dsl.engines.load import load_policy

    thinking = thinking_of(plan)
    _quieten()
    engine = load_policy(model_here(plan), str(source), device=find_device(), thinking=thinking != "off")
    return replace(model_examinee(name, str(source), plan, engine), source=shown or str(source))


def served(plan: Plan, source: str | Path, name: str, shown: str | None = None) -> Examinee:
    """A model that a vLLM server holds, which was started with it. Its tokenizer is read here.

    Args:
        plan: with the server's address; its tokenizer and template.
        source: folder or hub id that the server must have been started with.
        name: as results call it.
        shown: as results call the source; None: as it is.

    Raises:
        MachineError: nobody answers, another model is served, or its sequences are too short for the games.
    """
    from gift_dsl.engines.load import load_codec
    from gift_dsl.engines.served import ServedPolicy, Server, read_card

    server = Server(str(plan.runtime.resources["vllm"]["base_url"]))
    card = read_card(server)
    if not _same_source(card.source, str(source)):
        raise MachineError(
            f"the vLLM server at {server.host} serves {card.source}, and {shown or source} is to be evaluated; start "
            f"it with: vllm serve {shown or source}, or leave `resources.vllm` out"
        )
    thinking, needed = thinking_of(plan), plan.stages[-1].max_context
    codec = load_codec(model_here(plan), str(source), thinking=thinking != "off")
    policy = ServedPolicy(codec, server, card.max_length)
    player = model_player("policy", policy)

    def seat(_services: Services) -> Seat:
        if card.max_length is not None and card.max_length < needed:
            raise MachineError(
                f"the vLLM server at {server.host} takes sequences of {card.max_length} tokens and the games need "
                f"{needed}; start it with --max-model-len {needed}"
            )
        return player

    place, identity = f"{shown or source} at {server.host}", f"{_digest(str(source), plan.model, name)} by vLLM"
    return Examinee(name, "model", place, identity, thinking, seat, lambda _: policy)


def _same_source(one: str, other: str) -> bool:
    """Whether two words stand for one model: a hub id, or a folder however it is written."""
    return one == other or (Path(other).is_dir() and Path(one).resolve() == Path(other).resolve())


def _local(plan: Plan, opponent: OpponentPlan) -> Examinee:
    from gift_dsl.engines.load import find_source
    from gift_dsl.run.stage import load_opponent

    _quieten()
    engine = load_opponent(plan, opponent, find_device())
    folder = opponent_folder(plan, opponent)
    source = str(folder or find_source(opponent_model(plan, opponent), Path(plan.runtime.folder)))
    return replace(model_examinee(opponent.name, source, plan, engine), thinking="off")


def model_examinee(name: str, source: str, plan: Plan, engine: Any) -> Examinee:
    """An engine as the one that is evaluated.

    Args:
        name: as results call it.
        source: where its weights came from: a folder or a hub id.
        plan: that it was loaded for.
        engine: of them.
    """
    policy = model_player("policy", engine)
    identity = _digest(source, plan.model, name)
    return Examinee(name, "model", source, identity, thinking_of(plan), lambda _: policy, lambda _: engine)


def _quieten() -> None:
    """Loading a model is told in a line of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def _digest(source: str, model: ModelPlan, name: str) -> str:
    """sha256 of a folder of weights; of a hub model the commit stands for them."""
    if Path(source).is_dir():
        found = fingerprint_model(str(Path(source).resolve()), None, Path())
        return str(found.sha256)
    revision = model.revision if model.source == source else None
    found = fingerprint_model(source, revision, Path())
    return found.sha256 or f"{name}@{revision}"


def _endpoint(opponent: OpponentPlan, sampling: tuple[float, int]) -> Examinee:
    temperature, max_tokens = sampling

    def seat(services: Services) -> Seat:
        player = make_player(opponent, services)
        assert isinstance(player, OpenAIPlayer)
        chat = replace(player.chat, temperature=temperature, max_tokens=max_tokens)
        return replace(player, chat=chat, is_measured=True)

    params = opponent.params
    source = str(params["model"])
    sent = make_chat_settings({**params, "temperature": temperature, "max_tokens": max_tokens}).body(())
    identity = digest("gift-endpoint/1", sent)
    return Examinee(opponent.name, "endpoint", source, identity, str(params["thinking"]), seat, seat)


def thinking_of(plan: Plan) -> str:
    """How the last stage has the model think."""
    found = [leaf.rollout.thinking for leaf in leaves(plan.stages[-1].play)]
    return next((one for one in found if one != "off"), "off")


def find_device() -> str:
    """Where models compute here; each process of several has a device of its own."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
