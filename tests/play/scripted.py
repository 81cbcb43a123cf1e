"""What the tests of the table sit down: a small codec, a policy that says what a function says, and small players."""

from __future__ import annotations

import asyncio
import random
import re
from dataclasses import dataclass, replace

from gift_dsl.games.game import FreeText, GameFacts
from gift_dsl.plan import GamePlan, Leaf, PromptPlan, RolloutPlan
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table, TableGame, model_player, table_game
from gift_dsl.play.table import play_groups
from gift_dsl.seat import Completion, PlayerFault

CONSTANT = ((0, 1.0),)
ROLLOUT = RolloutPlan(
    max_tokens_per_turn=40,
    temperature=1.0,
    thinking="off",
    on_truncation="end",
    opponent_noise="independent",
    opponent_illegal_retry=2,
    opponent_illegal_then="random_legal",
    max_void_share=1.0,
    max_turn_retries=2,
    turn_timeout_s=60.0,
)
KEYS = Keys(seed=7, split="train", stage="nested", step=0)


class WordCodec:
    """ChatML over words: a token for each word, mark or run of white space, learned when it is first met."""

    START, END = 0, 1
    end_of_turn_ids = frozenset({1})

    def __init__(self):
        self.words = ["<|im_start|>", "<|im_end|>"]
        self.ids = {word: index for index, word in enumerate(self.words)}

    def encode(self, text):
        pieces = re.findall(r"\s+|\w+|[^\w\s]", text)
        for piece in pieces:
            if piece not in self.ids:
                self.ids[piece] = len(self.words)
                self.words.append(piece)
        return tuple(self.ids[piece] for piece in pieces)

    def render(self, messages, *, open_turn):
        ids = []
        for message in messages:
            ids += [self.START, *self.encode(f"{message.role}\n"), *self.encode(message.content), self.END]
            ids += self.encode("\n")
        if open_turn:
            ids += [self.START, *self.encode("assistant\n")]
        return tuple(ids)

    def decode(self, ids):
        return "".join(self.words[token] for token in ids if token > 1)


CODEC = WordCodec()
"""One for all, so that equal plays have equal ids."""


class ScriptedPolicy:
    """Says what `reply(request, context as text)` says; turns longer than allowed are cut."""

    def __init__(self, reply, codec=None):
        self.codec = codec or CODEC
        self.reply = reply
        self.batches = []

    async def complete(self, requests):
        self.batches.append(list(requests))
        await asyncio.sleep(0)
        return [self.answer(request) for request in requests]

    def answer(self, request):
        ids = (*self.codec.encode(self.reply(request, self.codec.decode(request.context))), self.codec.END)
        is_cut = len(ids) > request.max_tokens
        ids = ids[: request.max_tokens]
        return Completion(ids, (-0.5,) * len(ids), "length" if is_cut else "stop")

    async def score(self, contexts, continuations):
        raise NotImplementedError


def tagged(text):
    return f"<answer>{text}</answer>"


def legal_listed(context):
    """The legal actions in the last message of a context."""
    return context.rpartition("Legal actions: ")[2].split("\n")[0].split()


def random_policy(codec=None):
    """Plays a legal action drawn from the request's own stream."""

    def reply(request, context):
        rng = random.Random(repr((request.seed, request.stream_key)))
        return tagged(rng.choice(legal_listed(context)))

    return ScriptedPolicy(reply, codec)


@dataclass
class RandomPlayer:
    """A uniformly random legal action; `waits` and `delay_s` make it a server."""

    name: str = "random"
    waits: bool = False
    delay_s: float = 0.0

    async def act(self, turn, rng):
        if self.waits:
            await asyncio.sleep(self.delay_s)
        return tagged("hello there" if isinstance(turn.legal, FreeText) else rng.choice(turn.legal))


@dataclass
class SayingPlayer:
    """Says what a function of (turn, rng) says; it may raise a fault."""

    say: object
    name: str = "saying"
    waits: bool = False

    async def act(self, turn, rng):
        return self.say(turn, rng)


def fault(name="server"):
    return PlayerFault(name, "timed out", endpoint="http://localhost:1/v1")


@dataclass(frozen=True)
class CountObservation:
    """A counter and what may be added to it."""

    total: int
    legal: tuple[str, ...]


@dataclass(frozen=True)
class CountState:
    """Players add 1 or 2 in turn; who reaches `goal` wins."""

    goal: int
    first: int = 0
    seats: int = 2
    total: int = 0
    moves: int = 0

    @property
    def is_terminal(self):
        return self.total >= self.goal

    @property
    def current_player(self):
        return -1 if self.is_terminal else (self.first + self.moves) % self.seats

    def legal_actions(self):
        return () if self.is_terminal else ("1", "2")

    def observation(self, player):
        return CountObservation(self.total, self.legal_actions() if player == self.current_player else ())

    def apply(self, action):
        if action not in self.legal_actions():
            raise ValueError(f"illegal action {action!r}")
        return replace(self, total=self.total + int(action), moves=self.moves + 1)

    def outcome(self):
        winner = (self.first + self.moves - 1) % self.seats
        return tuple("win" if seat == winner else "loss" for seat in range(self.seats))


@dataclass(frozen=True)
class CountGame:
    """The goal is drawn, and so is who begins unless `first` says it."""

    goal: int = 5
    spread: int = 20
    seats: int = 2
    roles: tuple[str, ...] = ()
    first: int | None = None

    @property
    def facts(self):
        turns = -(-(self.goal + self.spread) // self.seats)
        return GameFacts(self.seats, (turns,) * self.seats, False, False, self.seats == 2, roles=self.roles)

    def start(self, rng):
        first = rng.randrange(self.seats)
        first = first if self.first is None else self.first
        return CountState(self.goal + rng.randrange(self.spread + 1), first, self.seats)

    def role(self, state, player):
        return self.roles[player] if self.roles else ""

    def instance_key(self, state):
        return f"{state.goal}:{state.first}"


COUNT_PROMPT = PromptPlan(
    observations=(
        "{% if feedback %}{{ feedback }} {% endif %}{% if penalty %}Penalty {{ penalty }} {% endif %}"
        "{% if retry_reason %}Again: {{ retry_reason }} {% endif %}"
        "Turn {{ turn }}, {{ turns_left }} left, you are {{ player }}. Total {{ total }}. Legal actions: "
        "{{ legal|join(' ') }}",
    ),
    answer="Answer in <{{ tag }}>.",
    tag="answer",
    think="optional",
)


def game_plan(name, **changes):
    plan = GamePlan(
        name=name,
        family="board",
        params={"openings": "balanced"},
        trainee_seat="any",
        trainee_role=None,
        opponents={"1": "random"},
        opponents_by="seat",
        assign="fixed",
        reward=(1.0, 0.5, 0.0),
        max_turns=5,
        illegal_retries=0,
        format_penalty=-0.1,
        illegal_penalty=0.0,
        show_penalty=False,
        prompt=COUNT_PROMPT,
        rollout=ROLLOUT,
        held_out=False,
        data=None,
    )
    return replace(plan, **changes)


def tictactoe(name="ttt", **changes):
    prompt = replace(
        COUNT_PROMPT,
        observations=(
            "{% if retry_reason %}Again: {{ retry_reason }} {% endif %}Turn {{ turn }} "
            "{% for row in cells %}{{ row|join('') }} {% endfor %}you are {{ mark }}\n"
            "Legal actions: {{ legal|join(' ') }}",
        ),
    )
    return table_game(game_plan(name, prompt=prompt, **changes))


def counting(name="count", game=None, **changes):
    game = game or CountGame()
    changes = {"trainee_seat": 0, "max_turns": 20, **changes}
    if "opponents" not in changes:
        changes["opponents"] = {str(place + 1): "random" for place in range(game.facts.seats - 1)}
    return TableGame(game_plan(name, **changes), game, game.facts)


def leaf(name, label=None, max_turns=20, **rollout):
    return Leaf(label or name, name, CONSTANT, max_turns, replace(ROLLOUT, **rollout))


def table_of(*games, policy=None, players=(), **changes):
    policy = policy or random_policy()
    seat = model_player("policy", policy) if hasattr(policy, "complete") else policy
    seated = {player.name: player for player in (RandomPlayer(), *players)}
    return Table({game.plan.name: game for game in games}, seat, seated, **changes)


def play(table, composition, groups=1, members=4, keys=KEYS, **options):
    walks = plan_walks(composition, keys, range(groups))
    return asyncio.run(play_groups(table, keys, walks, members, **options))


def trajectories(groups):
    return [trajectory for group in groups for trajectory in group.trajectories]
