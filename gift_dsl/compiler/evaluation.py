"""Evaluation: benchmarks that can be asked of their subject, judges that can judge, and the plan of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.unused import trained_games, used_games
from gift_dsl.errors import Diagnostic, Note
from gift_dsl.plan import EvaluationPlan, FinalPlan, ProbePlan
from gift_dsl.spec.models.evaluation import CommonGenBenchmark, LmEvalBenchmark
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.opponents import LocalOpponent, OpenAIOpponent


def needs_loglikelihood(task: str) -> bool | None:
    """Whether a task, group or tag of lm-eval scores continuations instead of asking for text; None: nobody knows.

    A name has the kind of the longest known beginning or end that fits it.
    """
    from gift_dsl.compiler.lm_eval_tasks import SCORES, TEXT

    scores, text = frozenset(SCORES.split()), frozenset(TEXT.split())
    places = range(len(task), 0, -1)
    fitting = (task, *(f"*{task[-end:]}" for end in places), *(f"{task[:end]}*" for end in places))
    return next((name in scores for name in fitting if name in scores or name in text), None)


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
        if isinstance(item, LmEvalBenchmark) and chat:
            yield from _task(context, (*path, "task"), item.task, chat[0])
        if isinstance(item, CommonGenBenchmark):
            judge = context.opponent(item.judge)
            if judge is not None and not isinstance(judge, OpenAIOpponent):
                message = f"the judge `{item.judge}` has type `{judge.type}`; a judge is an `openai` opponent"
                yield context.finding("judge-not-a-model", message, (*path, "judge"))
    yield from _double(context)


def _task(context: Context, path: Loc, task: str, subject: str) -> Iterator[Diagnostic]:
    """Whether a chat API can be asked for a task."""
    scores = needs_loglikelihood(task)
    if scores:
        yield context.finding(
            "loglikelihood-on-chat",
            f"`{task}` scores log-likelihoods, which the chat API of `{subject}` does not give",
            path,
            hint="use a generative task (`mmlu_generative`), or one of our own benchmarks",
        )
    elif scores is None:
        from gift_dsl.compiler.lm_eval_tasks import VERSION

        yield context.finding(
            "unknown-task",
            f"`{task}` is no task of lm-eval {VERSION}: nobody knows whether it scores log-likelihoods, which the chat "
            f"API of `{subject}` does not give",
            path,
            severity="warning",
            hint="`lm_eval ls tasks` lists the tasks of the lm-eval that is installed",
        )


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
