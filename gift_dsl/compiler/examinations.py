"""What evaluation will do before it is done: which games, how often, against whom; and what it asks of endpoints.

The counts follow `run.examine` and `evaluate.games`, which perform them: an episode of a game gives one result, or one
a seat where every seat is trained.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.estimate import calls_of, seated_names
from gift_dsl.compiler.schedule import leaf_plays
from gift_dsl.plan import FinalPlan, JsonMap, Node, Plan, ProbePlan, StagePlan, chains_of, frozen, leaves

BENCHMARK_ITEMS: Final[Mapping[str, int]] = {"math500": 500, "mmlu": 14_042, "mmlu_pro": 12_032, "social_iqa": 1_954}
"""Of the splits that are asked (docs/benchmarks.md); not of CommonGen, which lies behind a gate, and of lm-eval."""


@frozen
class Examination:
    """One kind of evaluation on games.

    Attributes:
        what: a probe every so many steps, the measurement before or after a stage, or the final one.
        stage: whose; None for the final one.
        split: of the instances.
        every: steps between two probes.
        times: how often it is done: probes of a stage, or checkpoints and subjects of the final one.
        rounds: results of each game, episodes of each chain.
        games: played alone.
        chains: compositions played whole, by name.
        opponents: by game, who sits in its other seats, each name once; nobody where the policy plays itself.
        episodes, opponent_calls: of one time.
        opponent_usd: of one time; None where a price is missing.
    """

    what: Literal["probe", "before", "after", "final"]
    stage: str | None
    split: str
    every: int | None
    times: int
    rounds: int
    games: tuple[str, ...]
    chains: tuple[str, ...]
    opponents: JsonMap
    episodes: int
    opponent_calls: float
    opponent_usd: float | None


@frozen
class BenchmarkCount:
    """One benchmark.

    Attributes:
        name: as commands call it.
        items: most of one time; None where they are not known before the data are read.
        times: checkpoints and subjects it is asked of.
        judge: who judges it.
        verdicts: most that the judge gives on one item.
    """

    name: str
    items: int | None
    times: int
    judge: str | None
    verdicts: int


@frozen
class EvaluationEstimate:
    """All evaluation of a run: upper bounds, but for opponents' calls and cost, which are estimates.

    Attributes:
        examinations: on games, in the order in which they are done.
        benchmarks: in the order written.
        subjects: opponents that play the final test and answer the benchmarks beside the policy; what is asked of them
            is not among the calls.
        history: what prompts of games hold of earlier turns.
    """

    examinations: tuple[Examination, ...]
    benchmarks: tuple[BenchmarkCount, ...]
    subjects: tuple[str, ...]
    history: str

    @property
    def episodes(self) -> int:
        """Of games, in all."""
        return sum(one.times * one.episodes for one in self.examinations)

    @property
    def opponent_calls(self) -> int:
        """Requests to opponents in games, in all."""
        return round(sum(one.times * one.opponent_calls for one in self.examinations))

    @property
    def opponent_usd(self) -> float | None:
        """Their cost; None where a price is missing."""
        costs = [None if one.opponent_usd is None else one.times * one.opponent_usd for one in self.examinations]
        return None if None in costs else round(sum(cost or 0.0 for cost in costs), 4)

    def to_json(self) -> dict[str, Any]:
        """Plain values, with totals."""
        from gift_dsl.plan import to_json

        total = {
            "episodes": self.episodes,
            "opponent_calls": self.opponent_calls,
            "opponent_usd": self.opponent_usd,
            "benchmark_items": sum(one.times * (one.items or 0) for one in self.benchmarks),
        }
        return {**to_json(self), "total": total}


def estimate_evaluation(context: Context, plan: Plan) -> EvaluationEstimate:
    """What a plan's evaluation will do."""
    evaluation = plan.evaluation
    checkpoints = 1 if evaluation.final is None else len(evaluation.final.checkpoints)
    return EvaluationEstimate(
        examinations=tuple(_examinations(context, plan)),
        benchmarks=tuple(_benchmark(one, checkpoints + len(evaluation.subjects)) for one in evaluation.benchmarks),
        subjects=evaluation.subjects,
        history=evaluation.history,
    )


def _examinations(context: Context, plan: Plan) -> Iterator[Examination]:
    final, probe = plan.evaluation.final, plan.evaluation.probe
    rounds = next((one.rounds for one in (final, probe) if one is not None), None)
    former: StagePlan | None = None
    for stage in plan.stages:
        played = tuple(dict.fromkeys(leaf.game for leaf in leaves(stage.play)))
        counter = _Counter(context, plan)
        # What the stage before found with the same weights is not played again.
        is_known = former is not None and _asks_alike(former, stage)
        if rounds is not None and not is_known:
            yield counter.count("before", stage, played, rounds)
        if probe is not None and stage.type == "grpo" and stage.until.max_steps >= probe.every:
            yield counter.probes(stage, probe)
        if rounds is not None:
            yield counter.count("after", stage, played, rounds)
        former = stage
    if final is not None:
        yield _Counter(context, plan, final).final()


def _asks_alike(one: StagePlan, other: StagePlan) -> bool:
    return (one.play, one.system_prompt) == (other.play, other.system_prompt)


@frozen
class _Counter:
    """Counts what a plan's evaluation plays; with `final`, in its protocol."""

    context: Context
    plan: Plan
    tested: FinalPlan | None = None

    def count(
        self, what: Literal["before", "after"], stage: StagePlan, games: Sequence[str], rounds: int
    ) -> Examination:
        """Before or after a stage: its games and its chains on dev."""
        return self._made(what, games, self._chains(stage), rounds, stage=stage.name)

    def probes(self, stage: StagePlan, probe: ProbePlan) -> Examination:
        """All probes of a stage."""
        chains = self._chains(stage) if probe.chain else dict[str, Node]()
        found = self._made("probe", probe.games, chains, probe.rounds, stage=stage.name)
        return replace(found, every=probe.every, times=stage.until.max_steps // probe.every)

    def final(self) -> Examination:
        """The final evaluation: its games, and the chains of the last stage."""
        assert self.tested is not None
        found = self._made("final", self.tested.games, self._chains(self.plan.stages[-1]), self.tested.rounds)
        times = len(self.tested.checkpoints) + len(self.plan.evaluation.subjects)
        return replace(found, split=self.tested.split, times=times)

    def _chains(self, stage: StagePlan) -> Mapping[str, Node]:
        return chains_of(stage) if self.plan.evaluation.history == "full" else {}

    def _made(
        self,
        what: Literal["probe", "before", "after", "final"],
        games: Sequence[str],
        chains: Mapping[str, Node],
        rounds: int,
        *,
        stage: str | None = None,
    ) -> Examination:
        alone = {name: self._episodes(name, rounds) for name in games}
        plays = list(alone.items())
        for node in chains.values():
            by_label = {leaf.label: leaf.game for leaf in leaves(node)}
            plays += [(by_label[label], number) for label, number in leaf_plays(node, rounds).items()]
        costs = [(number, *calls_of(self.context, name, self._others(name))) for name, number in plays]
        known = [(number, usd) for number, _, usd in costs if usd is not None]
        return Examination(
            what=what,
            stage=stage,
            split="dev",
            every=None,
            times=1,
            rounds=rounds,
            games=tuple(games),
            chains=tuple(chains),
            opponents={name: list(dict.fromkeys(self._others(name))) for name in dict(plays)},
            episodes=sum(alone.values()) + rounds * len(chains),
            opponent_calls=round(sum(number * calls for number, calls, _ in costs), 2),
            opponent_usd=round(sum(number * usd for number, usd in known), 4) if len(known) == len(costs) else None,
        )

    def _others(self, name: str) -> list[str]:
        game = self.context.games[name]
        given: JsonMap = {} if self.tested is None else self.tested.opponents
        return [str(given[name])] * (game.facts.seats - 1) if name in given else seated_names(game)

    def _episodes(self, name: str, rounds: int) -> int:
        """A play of a game whose seats are all trained gives a result of each."""
        game = self.context.games[name]
        overridden = self.tested is not None and name in self.tested.opponents
        every_seat = game.spec.trainee.seat == "all" and not overridden
        return math.ceil(rounds / game.facts.seats) if every_seat else rounds


def _benchmark(benchmark: JsonMap, times: int) -> BenchmarkCount:
    kind, limit = str(benchmark["type"]), benchmark.get("limit")
    known = None if benchmark.get("data_dir") else BENCHMARK_ITEMS.get(kind)
    # A limit is one of each task; of ours each is a single task, of lm-eval's not.
    items = known if limit is None or kind == "lm_eval" else min(limit, known or limit)
    name = f"lm_eval/{benchmark['task']}" if kind == "lm_eval" else kind
    judge = benchmark.get("judge")
    verdicts = 0 if judge is None else 2 if benchmark.get("order") == "both" else 1
    return BenchmarkCount(name, items, times, None if judge is None else str(judge), verdicts)
