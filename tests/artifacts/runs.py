"""What the tests of the run directory write: a real plan, a run made of it, and groups that were really played."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.seat import Completion
from gift_dsl.settings import shipped
from tests.play.scripted import (
    CountGame,
    RandomPlayer,
    SayingPlayer,
    ScriptedPolicy,
    WordCodec,
    counting,
    fault,
    leaf,
    play,
    random_policy,
    table_of,
    tictactoe,
)
from tests.play.templates import codec_of
from tests.play.test_deal import all_of

QUICKSTART = shipped("specs") / "quickstart.yaml"


@cache
def quickstart(*sets):
    (plan,) = api.compile_spec(str(QUICKSTART), sets=sets)
    return plan


def make_run(output: Path, *sets, written=None):
    plan = quickstart(*sets)
    written = {"specs/quickstart.yaml": QUICKSTART.read_bytes()} if written is None else written
    return create_run(output, plan, written=written, resolved={"gift": 1}, lock=make_lock(plan, Machine(1, 1)))


@cache
def played(kind="shared", groups=2, members=4):
    """Groups of a nested episode: a board against a server, a race, and a solo race.

    `shared` is one sequence a trajectory, `fresh` one a part, `per-turn` one a turn (a template that rewrites
    history), `all-seats` trains both sides, `void` is against a server that never answers, `text` has tokens of a
    real tokenizer.
    """
    server = SayingPlayer(never, "server", waits=True) if kind == "void" else RandomPlayer("server", waits=True)
    codecs = {"per-turn": "numbered", "text": "chatml"}
    # With words of its own: another process must give them the same ids.
    policy = TemplatePolicy(codecs[kind]) if kind in codecs else ScriptedPolicy(random_policy().reply, WordCodec())
    if kind == "all-seats":
        games = [counting(trainee_seat="all", opponents={})]
        return tuple(play(table_of(*games, policy=policy), leaf("count"), groups=groups, members=members))
    games = [tictactoe(opponents={"1": "server"}), counting(), counting("solo", CountGame(3, 4, 1))]
    context = "fresh" if kind == "fresh" else "shared"
    chain = all_of(leaf("solo"), leaf("ttt"), leaf("count"), context=context)
    return tuple(play(table_of(*games, policy=policy, players=[server]), chain, groups=groups, members=members))


class TemplatePolicy(ScriptedPolicy):
    """The random policy, with the tokens of a real chat template."""

    def __init__(self, family):
        super().__init__(random_policy().reply, codec_of(family))

    def answer(self, request):
        text = self.reply(request, self.codec.decode(request.context))
        ids = (*self.codec.encode(text), min(self.codec.end_of_turn_ids))
        return Completion(ids, (-0.5,) * len(ids), "stop")


def never(turn, rng):
    raise fault()


def with_logprobs(groups, value):
    """The groups with other log-probs on the tokens that were sampled: `value(index)`."""
    return tuple(
        replace(group, trajectories=tuple(_with(one, value) for one in group.trajectories)) for group in groups
    )


def _with(one, value):
    def changed(sequence):
        drawn = (value(index) if own else 0.0 for index, own in enumerate(sequence.mask))
        return replace(sequence, logprobs=tuple(drawn))

    return replace(one, sequences=tuple(changed(sequence) for sequence in one.sequences))
