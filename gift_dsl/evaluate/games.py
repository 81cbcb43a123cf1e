"""What a policy can do in games: instances of one split, every seat in turn, the same ones for every checkpoint.

The table of training plays them, so prompts and parsing are those of training. Every draw has a name of its own under
the root `eval`, made of the evaluation's seed and nothing that was played before: two checkpoints meet the same
instances, opponents' draws included, and can be compared pair by pair.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from gift_dsl.errors import UsageError
from gift_dsl.evaluate.generators import kept_generators
from gift_dsl.evaluate.scores import GameScore, Round
from gift_dsl.plan import EvaluationPlan, FinalPlan, GamePlan, Leaf, Node, ProbePlan, StagePlan, chains_of, leaves
from gift_dsl.play.compose import Walk, plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Choice, Evaluation, ModelPlayer, Seat, Table, TableGame
from gift_dsl.play.table import play_groups
from gift_dsl.records import Group, PartRecord

GAMES_SCHEMA: Final = "gift-games/1"

_STAGE: Final = "games"
"""In the names of streams, whatever stage a checkpoint comes from: all of them meet the same instances."""

OnProgress = Callable[[str, int, int], None]
"""Called with the name of a game or chain, its episodes that are over, and all its episodes."""


@dataclass(frozen=True, slots=True, eq=False)
class Arena:
    """Who plays, and what there is to play.

    Attributes:
        policy: who is measured: a model, or any player.
        games: by name, on the split that is asked for.
        players: everybody else, by name; what an override of opponents names too.
        system_prompt: of every conversation; that of the stage, so that prompts are those of training.
        max_context: longest sequence of the policy in tokens; None: no limit.
    """

    policy: Seat
    games: Mapping[str, TableGame]
    players: Mapping[str, Seat | Choice] = field(default_factory=dict[str, Seat | Choice])
    system_prompt: str = ""
    max_context: int | None = None


@dataclass(frozen=True, slots=True)
class GamesRequest:
    """What is to be measured.

    Attributes:
        split: of the instances; test is for the final evaluation alone.
        rounds: results of each game and episodes of each chain, at least 1, shared equally among the seats.
        games: names of the games to be played alone.
        chains: compositions to be played whole, by name (see `plan.chains_of`).
        temperature: of the policy; 0 is greedy.
        max_tokens: of one turn of the policy.
        max_replays: times that an episode without a result is taken up again.
        history: what prompts hold of earlier turns: all of them, as in training, or nothing. A chain is what its
            history makes of it, so there is none without.
        seed: of the evaluation; it does not follow the run's.
        opponents: by game, who sits in all its other seats instead of the opponents of training.
        at_once: most episodes that are kept alive together, which bounds the memory.
        share: (index, of how many): processes share the work; `merge_results` puts it together.
    """

    split: Literal["dev", "test"]
    rounds: int
    games: tuple[str, ...]
    chains: Mapping[str, Node] = field(default_factory=dict[str, Node])
    temperature: float = 0.5
    max_tokens: int = 600
    max_replays: int = 3
    history: Literal["full", "none"] = "full"
    seed: int = 1
    opponents: Mapping[str, str] = field(default_factory=dict[str, str])
    at_once: int = 512
    share: tuple[int, int] = (0, 1)


@dataclass(frozen=True, slots=True)
class GamesResult:
    """What was measured.

    Attributes:
        request: what was asked for.
        games: one score a game, in the order asked.
        chains: by name of the chain, one score for each of its labels.
    """

    request: GamesRequest
    games: tuple[GameScore, ...]
    chains: Mapping[str, tuple[GameScore, ...]]

    @property
    def scores(self) -> tuple[GameScore, ...]:
        """All of them: games alone, then the parts of chains."""
        return (*self.games, *(score for parts in self.chains.values() for score in parts))

    def samples(self) -> Iterator[dict[str, Any]]:
        """Every round as plain values, one line each of a file; `compare.run_scores` reads them."""
        for score in self.scores:
            place = {"game": score.game, "label": score.label, "chain": score.chain}
            for one in score.rounds:
                yield place | asdict(one)

    def to_json(self) -> dict[str, Any]:
        """Plain values: the protocol; by game, and by chain and label, rounds, successes, interval and the rest."""
        request = self.request
        return {
            "schema": GAMES_SCHEMA,
            "protocol": {
                "split": request.split,
                "rounds": request.rounds,
                "seed": request.seed,
                "temperature": request.temperature,
                "max_tokens": request.max_tokens,
                "max_replays": request.max_replays,
                "history": request.history,
            },
            "games": {score.game: score.to_json() for score in self.games},
            "chains": {name: {part.label: part.to_json() for part in parts} for name, parts in self.chains.items()},
        }


def probe_request(evaluation: EvaluationPlan, probe: ProbePlan, stage: StagePlan) -> GamesRequest:
    """The probe of a stage, on dev."""
    return GamesRequest(
        split="dev",
        rounds=probe.rounds,
        games=probe.games,
        chains=chains_of(stage) if probe.chain and evaluation.history == "full" else {},
        temperature=evaluation.temperature,
        max_tokens=evaluation.max_tokens,
        history=evaluation.history,
        seed=evaluation.seed,
    )


def final_request(evaluation: EvaluationPlan, final: FinalPlan, stages: Sequence[StagePlan] = ()) -> GamesRequest:
    """The final evaluation: each game alone, and the chains of the stages named."""
    played = stages if evaluation.history == "full" else ()
    chains = {name: node for stage in played for name, node in chains_of(stage).items()}
    return GamesRequest(
        split=final.split,
        rounds=final.rounds,
        games=final.games,
        chains=chains,
        temperature=final.temperature,
        max_tokens=final.max_tokens,
        max_replays=final.max_replays,
        history=evaluation.history,
        seed=evaluation.seed,
        opponents={game: str(name) for game, name in final.opponents.items()},
    )


async def evaluate_games(arena: Arena, request: GamesRequest, on_progress: OnProgress | None = None) -> GamesResult:
    """Play what is asked for.

    Global generators, the model's mode and what it keeps of other episodes' turns are not part of the result: the same
    weights give the same result whatever was played before. Generators and mode are left as they were.

    Args:
        arena: who plays what.
        request: the protocol.
        on_progress: is told of every chunk that is over.

    Raises:
        ValueError: fewer than one round, or no episode at once.
        KeyError: a game or player is not in the arena.
        UsageError: as `make_table`.
        LimitReached, MachineError: as the players raise them.
    """
    if request.rounds < 1 or request.at_once < 1:
        raise ValueError(f"rounds and at_once are at least 1: {request.rounds}, {request.at_once}")
    hall = _Hall(arena, request, on_progress or _tell_nobody)
    with kept_generators():
        games = [(await hall.play(name, None, alone(hall.games[name])))[0] for name in request.games]
        chains = {name: tuple(await hall.play(name, name, node)) for name, node in request.chains.items()}
    return GamesResult(request, tuple(games), chains)


def merge_results(results: Sequence[GamesResult]) -> GamesResult:
    """One result of the shares of several processes, the same as one process would have found."""
    merged = [_merged(scores) for scores in zip(*(result.scores for result in results), strict=True)]
    games = tuple(score for score in merged if score.chain is None)
    chains = {name: tuple(score for score in merged if score.chain == name) for name in results[0].chains}
    return GamesResult(replace(results[0].request, share=(0, 1)), games, chains)


def _merged(scores: Sequence[GameScore]) -> GameScore:
    return replace(scores[0], rounds=_sorted(one for score in scores for one in score.rounds))


def _sorted(rounds: Iterable[Round]) -> tuple[Round, ...]:
    return tuple(sorted(rounds, key=lambda one: (one.number, one.seat)))


def make_table(arena: Arena, request: GamesRequest) -> Table:
    """The table that a request is played at.

    Raises:
        UsageError: prompts shall hold no history, and a game tells its players only what is new.
    """
    for name in request.games if request.history == "none" else ():
        if not arena.games[name].facts.whole_observations:
            raise UsageError(
                f"`{name}` tells a player only what is new since its last turn: it has no prompt without history"
            )
    games = {name: _with_opponent(game, request.opponents.get(name)) for name, game in arena.games.items()}
    return Table(
        games=games,
        policy=arena.policy,
        players=arena.players,
        system_prompt=arena.system_prompt,
        max_context=arena.max_context,
        evaluation=Evaluation(request.temperature, request.max_tokens, request.max_replays, request.history),
    )


def eval_keys(request: GamesRequest) -> Keys:
    """What every stream of an evaluation has in its name."""
    return Keys(request.seed, request.split, _STAGE, 0, ("eval",))


def alone(game: TableGame) -> Leaf:
    """A game as the only part, played as the plan says for evaluation."""
    return Leaf(game.plan.name, game.plan.name, ((0, 1.0),), game.plan.max_turns, game.plan.rollout)


class _Hall:
    """An arena that is ready for one request."""

    def __init__(self, arena: Arena, request: GamesRequest, on_progress: OnProgress) -> None:
        self.request, self.on_progress = request, on_progress
        self.table, self.keys = make_table(arena, request), eval_keys(request)
        self.games = self.table.games

    async def play(self, name: str, chain: str | None, node: Node) -> list[GameScore]:
        """One score for each label, in the order written."""
        walks = self._walks(node)
        rounds: defaultdict[str, list[Round]] = defaultdict(list)
        self._forget()
        for start in range(0, len(walks), self.request.at_once):
            chunk = walks[start : start + self.request.at_once]
            for group in await play_groups(self.table, self.keys, chunk, 1):
                self._add(group, rounds)
            self._forget()
            self.on_progress(name, start + len(chunk), len(walks))
        return [self._score(leaf, chain, rounds[leaf.label]) for leaf in leaves(node)]

    def _walks(self, node: Node) -> tuple[Walk, ...]:
        """All episodes are dealt at once, then cut: neither chunks nor processes change what is played."""
        episodes = self.request.rounds
        if isinstance(node, Leaf) and self.games[node.game].plan.trainee_seat == "all":
            episodes = math.ceil(episodes / self.games[node.game].facts.seats)
        index, number = self.request.share
        return plan_walks(node, self.keys, range(episodes))[index::number]

    def _add(self, group: Group, rounds: Mapping[str, list[Round]]) -> None:
        number = int(group.id.removeprefix(f"{self.keys.place}/").split("/")[0])
        for trajectory in group.trajectories:
            for part in trajectory.parts:
                rounds[part.label].append(_round(part, number, self.games[part.game]))

    def _score(self, leaf: Leaf, chain: str | None, rounds: Sequence[Round]) -> GameScore:
        plan = self.games[leaf.game].plan
        return GameScore(
            label=leaf.label,
            game=leaf.game,
            chain=chain,
            split=self.request.split,
            held_out=self.request.split if plan.held_out else "none",
            opponents=tuple(dict.fromkeys(map(str, plan.opponents.values()))),
            rounds=_sorted(rounds),
        )

    def _forget(self) -> None:
        """Models release what they keep of turns: it is of no use after an episode, and rounds a little differently."""
        for policy in _models(self.table):
            forget: Callable[[], None] | None = getattr(policy, "forget", None)
            if forget is not None:
                forget()


def _models(table: Table) -> Iterator[object]:
    seated = [table.policy, *table.players.values()]
    yield from {id(seat.policy): seat.policy for seat in seated if isinstance(seat, ModelPlayer)}.values()


def _round(part: PartRecord, group: int, game: TableGame) -> Round:
    # The table gives one instance to as many groups as there are seats that take turns.
    takes_turns = game.plan.trainee_seat == "any"
    return Round(
        number=group // game.facts.seats if takes_turns else group,
        instance=part.instance,
        seat=part.seat,
        role=part.role,
        outcome=part.outcome,
        reward=part.reward,
        truncated=part.truncated,
        opponent_illegal=part.opponent_illegal,
        chance=part.chance,
    )


def _with_opponent(game: TableGame, name: str | None) -> TableGame:
    """The game with one player in all seats but the policy's; seats that were all trained are then taken in turn."""
    if name is None:
        return game
    plan: GamePlan = replace(
        game.plan,
        opponents={str(place): name for place in range(1, game.facts.seats)},
        opponents_by="seat",
        trainee_seat="any" if game.plan.trainee_seat == "all" else game.plan.trainee_seat,
    )
    return replace(game, plan=plan)


def _tell_nobody(_name: str, _done: int, _total: int) -> None:
    pass
