"""A grpo stage with a model of a few thousand weights: played for real, or on recorded groups."""

from __future__ import annotations

import asyncio
import random
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from gift_dsl.api import compile_spec
from gift_dsl.engines.frozen import frozen_copy
from gift_dsl.engines.load import load_policy, load_tokenizer
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.plan import leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table, model_player
from gift_dsl.play.table import play_groups
from gift_dsl.players.make import Services
from gift_dsl.run import bind, seated_names, table_games
from gift_dsl.train import step as step_module
from gift_dsl.train.grpo import GiftTrainer, train_grpo
from gift_dsl.train.job import Hooks, StageJob
from gift_dsl.train.teacher import Teacher, make_scribe
from tests.train.made import algorithm, batch_plan, group_of, made

QUICKSTART = Path(__file__).parent.parent.parent / "specs" / "quickstart.yaml"
SETS = (
    "model.tiny={hidden_size: 32, layers: 1, heads: 2}",
    "model.gradient_checkpointing=false",
    "stages[nested].play={all_of: [tictactoe, matrix]}",
    "stages[nested].until.steps=2",
    "algorithm.group_size=4",
    "algorithm.groups_per_step=4",
    "algorithm.mini_batch_size=16",
    "algorithm.epochs=1",
    "algorithm.warmup_steps=0",
    "algorithm.schedule=constant",
    "resources.micro_batch_size=8",
)


@cache
def plan_of(*sets):
    """The second stage of the quickstart on two games, with further changes."""
    (plan,) = compile_spec(str(QUICKSTART), sets=[*SETS, *sets])
    names = {leaf.game for leaf in leaves(plan.stages[-1].play)}
    games = tuple(game for game in plan.games if game.name in names)
    return replace(plan, games=games, stages=plan.stages[-1:])


def staged(plan, micro=4, steps=2, batch=None, **changes):
    """The plan with other numbers in its last stage, whatever the compiler would say to them."""
    stage = plan.stages[-1]
    stage = replace(
        stage,
        algorithm=replace(stage.algorithm, **changes),
        batch=batch or stage.batch,
        until=replace(stage.until, max_steps=steps),
    )
    resources = {**plan.runtime.resources, "micro_batch_size": micro}
    return replace(plan, stages=(*plan.stages[:-1], stage), runtime=replace(plan.runtime, resources=resources))


def recorded_plan(preset="starpo_s", *, kept=2, size=4, rows=1, mini=None, micro=4, steps=2, **changes):
    """A plan for recorded groups: sizes as asked for."""
    rule = algorithm(preset, **{"keep": 1.0, "learning_rate": 1e-3, "group_size": size, **changes})
    batch = batch_plan(kept, size, rows, mini, rule.epochs)
    plan = staged(plan_of(), micro, steps, batch)
    stage = replace(plan.stages[-1], algorithm=rule)
    return replace(plan, stages=(*plan.stages[:-1], stage))


@cache
def _folder():
    folder = Path(tempfile.mkdtemp(prefix="gift-tiny-"))
    return build_tiny(plan_of(), folder)


@cache
def _loaded(folder):
    plan = plan_of()
    return load_policy(plan.model, str(folder)), load_tokenizer(plan.model, str(folder))


def engine_of(weights=None):
    """A new engine of the same new model, or of one with these weights."""
    engine, _ = _loaded(_folder())
    model = frozen_copy(engine.model).requires_grad_(True)
    if weights is not None:
        model.load_state_dict(weights)
    return engine.sibling(model)


def job_of(plan, folder, engine=None, **options):
    """The last stage of a plan."""
    stage = plan.stages[-1]
    names = tuple(dict.fromkeys(leaf.game for leaf in leaves(stage.play)))
    options = {"games": table_games(plan, names, "train"), **options}
    engine = engine or engine_of()
    if "players" not in options:
        options |= opponents_of(plan, engine)
    return StageJob(
        plan=plan,
        stage=stage,
        index=len(plan.stages) - 1,
        engine=engine,
        tokenizer=_loaded(_folder())[1],
        folder=folder,
        **options,
    )


def opponents_of(plan, engine):
    """Everybody: the live policy as a player, and the names of its snapshots."""
    types = {one.name: one.type for one in plan.opponents}
    players = dict(bind([name for name, kind in types.items() if kind not in ("self", "snapshot")], plan, Services()))
    players |= {name: model_player(name, engine) for name, kind in types.items() if kind == "self"}
    return {"players": players, "snapshots": tuple(name for name, kind in types.items() if kind == "snapshot")}


class Log:
    """Hooks that remember: metrics of steps, and what was played."""

    def __init__(self, stop_after=None, **hooks):
        self.steps, self.groups, self.checkpoints = [], [], []
        self._stop_after = stop_after
        self.hooks = Hooks(
            on_step=self.steps.append,
            on_groups=lambda step, groups: self.groups.append(groups),
            should_stop=self._should_stop,
            on_checkpoint=lambda folder, state: self.checkpoints.append((folder, state)),
            **hooks,
        )

    def _should_stop(self):
        return "asked to" if self._stop_after is not None and len(self.steps) >= self._stop_after else None

    @property
    def metrics(self):
        """Of each step, times left out."""
        return [
            {key: value for key, value in one.metrics.items() if not key.startswith(("time/", "tokens_per_s"))}
            for one in self.steps
        ]


_LOG, _INIT, _MAY_STEP = GiftTrainer.log, GiftTrainer.__init__, GiftTrainer._may_step


class Watched:
    """Remembers losses, gradients and trainers until the test is over, and plays recorded groups if there are some."""

    def __init__(self, monkeypatch, groups=None):
        self.losses, self.norms, self.trainers, self.grads = [], [], [], []

        def watched_log(trainer, logs, start_time=None):
            if "loss" in logs:
                self.losses.append(logs["loss"])
                self.norms.append(float(logs["grad_norm"]))
            _LOG(trainer, logs, start_time)

        def watched_init(trainer, *args):
            _INIT(trainer, *args)
            self.trainers.append(trainer)

        def watched_step(trainer, optimizer):
            self.grads.append([one.grad.clone() for one in trainer.model.parameters() if one.grad is not None])
            return _MAY_STEP(trainer, optimizer)

        monkeypatch.setattr(GiftTrainer, "log", watched_log)
        monkeypatch.setattr(GiftTrainer, "_may_step", watched_step)
        monkeypatch.setattr(GiftTrainer, "__init__", watched_init)
        if groups is not None:
            monkeypatch.setattr(step_module, "_play", groups)

    @property
    def trainer(self):
        return self.trainers[-1]


class Recorded:
    """Made-up play: groups that are a function of step and number, as a noisy engine reports them.

    Args:
        plan: its leaves name the parts.
        context: of the parts; see `made`.
        dead: numbers of groups whose returns are equal.
        voids: void members of every group.
        noise: most that a log-probability is off.
        shift: what every log-probability is off by.
        temperature: of the engine.
        alive: steps whose groups are not all tied; None: all.
        cut: every other member has a turn that was cut.
    """

    def __init__(self, plan, *, context="shared", dead=(), voids=0, noise=0.3, cut=False, **more):
        self.plan, self.context, self.dead, self.voids, self.cut = plan, context, dead, voids, cut
        self.noise, self.shift, self.temperature = noise, more.get("shift", 0.0), more.get("temperature", 1.0)
        self.alive = more.get("alive")
        self.model = engine_of().model

    def __call__(self, playing, state, keys, walks, clock):
        del state, clock
        return [self.group(keys, walk.group, playing.algorithm.group_size) for walk in walks]

    def group(self, keys, number, size):
        rng = random.Random(f"{keys.step}/{number}")
        labels = [leaf.label for leaf in leaves(self.plan.stages[-1].play)]
        members = []
        for index in range(size):
            turns = [[rng.randrange(1, 6) for _ in range(rng.randrange(1, 3))] for _ in labels]
            is_dead = number in self.dead or (self.alive is not None and keys.step not in self.alive)
            rewards = [1.0 if is_dead else round(rng.random(), 3) for _ in labels]
            one = made(rewards, turns=turns, context=self.context, is_void=index < self.voids, rng=rng)
            members.append(self._named(self._reported(one, rng), labels, cut=self.cut and index % 2 == 1))
        group = group_of(*members, number=number)
        name = f"{keys.place}/{number}"
        renamed = [replace(one, group=name, episode=f"{name}/{one.member}") for one in group.trajectories]
        return replace(group, id=name, trajectories=tuple(renamed))

    def _named(self, one, labels, *, cut):
        parts = [
            replace(part, label=label, game=label, truncated=int(cut and place == 0))
            for place, (part, label) in enumerate(zip(one.parts, labels, strict=True))
        ]
        names = dict(zip("abcdefgh", labels, strict=False))
        turns = [replace(turn, part=names[turn.part]) for turn in one.turns]
        if cut:
            turns[0] = replace(turns[0], end="truncated", action=None)
        return replace(one, parts=tuple(parts), turns=tuple(turns), task=" + ".join(sorted(labels)))

    def _reported(self, one, rng):
        sequences = []
        for sequence in one.sequences:
            exact = logprobs(self.model, sequence, self.temperature).tolist()
            noisy = [value + self.shift + rng.uniform(-1, 1) * self.noise for value in exact]
            noisy = [value * bit for value, bit in zip(noisy, sequence.mask, strict=True)]
            sequences.append(replace(sequence, logprobs=tuple(noisy)))
        return replace(one, sequences=tuple(sequences))


def distributions(model, sequence, temperature=1.0):
    """Log-probabilities of everything that could stand at each completion id, [ids, vocabulary]."""
    ids = [*sequence.prompt_ids, *sequence.completion_ids]
    logits = model(torch.tensor([ids])).logits[0, len(sequence.prompt_ids) - 1 : -1]
    return (logits / temperature).log_softmax(-1)


def logprobs(model, sequence, temperature=1.0):
    """Of the completion ids, without gradient."""
    with torch.no_grad():
        found = distributions(model, sequence, temperature)
    return found[range(len(sequence.completion_ids)), list(sequence.completion_ids)]


@cache
def schooled():
    """Weights of a model that answers in the form asked for and plays legal moves, more or less at random."""
    plan, engine = plan_of(), engine_of()
    stage = plan.stages[-1]
    games = {leaf.label: leaf.game for leaf in leaves(stage.play)}
    values = table_games(plan, tuple(games.values()), "train")
    teacher = Teacher({label: values[game] for label, game in games.items()}, skill=0.3, illegal=0.05)
    table = Table(
        games=values,
        policy=make_scribe(engine.codec).seat(teacher),
        players=bind(seated_names(plan, tuple(games.values())), plan, Services()),
        system_prompt=stage.system_prompt,
        max_context=stage.max_context,
    )
    keys = Keys(1, "train", "school", 0)
    groups = asyncio.run(play_groups(table, keys, plan_walks(stage.play, keys, range(64)), 1))
    sequences = [sequence for group in groups for one in group.trajectories for sequence in one.sequences]
    optimizer = torch.optim.AdamW(engine.model.parameters(), lr=0.01)
    width = max(len(one.prompt_ids) + len(one.completion_ids) for one in sequences)
    ids, mask = torch.zeros(len(sequences), width, dtype=torch.long), torch.zeros(len(sequences), width)
    for row, one in enumerate(sequences):
        whole = [*one.prompt_ids, *one.completion_ids]
        ids[row, : len(whole)] = torch.tensor(whole)
        mask[row, len(one.prompt_ids) : len(whole)] = torch.tensor(one.mask, dtype=torch.float)
    said = mask[:, 1:].bool()
    for _ in range(60):
        hidden = engine.model.model(ids).last_hidden_state[:, :-1][said]
        loss = torch.nn.functional.cross_entropy(engine.model.lm_head(hidden), ids[:, 1:][said])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in engine.model.state_dict().items()}


def train(plan, folder, engine=None, log=None, **options):
    """Train the last stage; its engine and what the hooks heard."""
    log = log or Log()
    engine = engine or engine_of()
    train_grpo(job_of(plan, folder, engine, hooks=log.hooks, **options))
    return engine, log
