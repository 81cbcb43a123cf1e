"""Evaluation: benchmarks that can be asked of their subject, judges that can judge, and the plan of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.unused import trained_games, used_games
from gift_dsl.errors import Diagnostic, Note
from gift_dsl.plan import EvaluationPlan, FinalPlan, ProbePlan
from gift_dsl.spec.models.evaluation import CommonGenBenchmark, LmEvalBenchmark
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.opponents import LocalOpponent, OpenAIOpponent

GENERATIVE: Final = (
    "generative", "cot", "gsm8k", "math", "mmlu_pro", "ifeval", "humaneval", "mbpp", "drop", "triviaqa", "nq_open",
    "bbh", "aime", "truthfulqa_gen", "squad", "llama",
)  # fmt: skip
"""Words in the names of lm-eval tasks that ask for text; tasks without one of them are read as log-likelihood tasks."""


def needs_loglikelihood(task: str) -> bool:
    """Whether a task of lm-eval scores continuations instead of asking for text, as far as its name tells."""
    return not any(word in task for word in GENERATIVE)


def check(context: Context) -> Iterator[Diagnostic]:
    """Subjects, judges and tasks."""
    evaluation = context.spec.evaluation
    chat: list[str] = []
    for index, name in enumerate(evaluation.subjects):
        opponent = context.opponent(name)
        if isinstance(opponent, OpenAIOpponent):
            chat.append(name)
        elif not isinstance(opponent, LocalOpponent) and opponent is not None:
            message = f"`{name}` has type `{opponent.type}`, which cannot be evaluated as a model"
            yield context.finding("subject-not-a-model", message, ("evaluation", "subjects", index))
    for index, item in enumerate(evaluation.benchmarks):
        path: Loc = ("evaluation", "benchmarks", index)
        if isinstance(item, LmEvalBenchmark) and chat and needs_loglikelihood(item.task):
            yield context.finding(
                "loglikelihood-on-chat",
                f"`{item.task}` scores log-likelihoods, which the chat API of `{chat[0]}` does not give",
                (*path, "task"),
                hint="use a generative task (`mmlu_generative`), or one of our own benchmarks",
            )
        if isinstance(item, CommonGenBenchmark):
            judge = context.opponent(item.judge)
            if judge is not None and not isinstance(judge, OpenAIOpponent):
                message = f"the judge `{item.judge}` has type `{judge.type}`; a judge is an `openai` opponent"
                yield context.finding("judge-not-a-model", message, (*path, "judge"))
    yield from _double(context)


def check_history(context: Context) -> Iterator[Diagnostic]:
    """Without history: games that cannot be asked for a turn by itself, and chains, which are made of it."""
    if context.spec.evaluation.history == "full":
        return
    path: Loc = ("evaluation", "history")
    for name in sorted(used_games(context) & set(context.games)):
        if not context.games[name].facts.whole_observations:
            yield context.finding(
                "history-needed",
                f"`{name}` tells a player only what is new since its last turn: it has no prompt without history",
                path,
                hint="write `history: full`",
            )
    probe = context.spec.evaluation.probe
    if probe is not None and probe.chain:
        yield context.finding(
            "no-effect",
            "`chain` plays nothing beside `history: none`: without history a chain is its games alone",
            ("evaluation", "probe", "chain"),
            severity="warning",
            at_key=True,
            hint="remove it",
        )


def _double(context: Context) -> Iterator[Diagnostic]:
    """Benchmarks that mean the same, in whatever notation."""
    seen: dict[str, int] = {}
    for index, item in enumerate(context.spec.evaluation.benchmarks):
        key = str({"type": item} if isinstance(item, str) else plain(item))
        path: Loc = ("evaluation", "benchmarks", index)
        if key in seen:
            note = Note("the first one is here", context.span((*path[:-1], seen[key])))
            message = "this benchmark is listed twice"
            yield context.finding("duplicate-benchmark", message, path, hint="remove one", notes=[note])
        seen.setdefault(key, index)


def _games(context: Context, named: Sequence[str] | None, known: set[str]) -> tuple[str, ...]:
    """The games that were asked for, else the known ones in the order of the spec; compositions are no games."""
    return tuple(named) if named else tuple(name for name in context.games if name in known)


def compile_evaluation(context: Context) -> EvaluationPlan:
    """The plan of all evaluation; its check must have passed."""
    evaluation = context.spec.evaluation
    trained, used = trained_games(context), used_games(context)
    probe, final = evaluation.probe, evaluation.final
    benchmarks: list[dict[str, Any]] = []
    for item in evaluation.benchmarks:
        benchmarks.append({"type": item} if isinstance(item, str) else plain(item))
    sampling = (final.sampling if final is not None else None) or evaluation.sampling
    return EvaluationPlan(
        seed=evaluation.seed,
        temperature=evaluation.sampling.temperature,
        max_tokens=evaluation.sampling.max_tokens,
        probe=None
        if probe is None
        else ProbePlan(probe.every, probe.rounds, _games(context, probe.games, trained), probe.chain),
        final=None
        if final is None
        else FinalPlan(
            split=final.split,
            rounds=final.rounds,
            checkpoints=tuple(final.checkpoints),
            games=_games(context, final.games, used),
            opponents=final.opponents or {},
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            max_replays=final.max_replays,
        ),
        benchmarks=tuple(benchmarks),
        subjects=tuple(evaluation.subjects),
        system=evaluation.system,
        history=evaluation.history,
    )
