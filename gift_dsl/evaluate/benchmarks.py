"""Benchmarks: what is asked for in, one result with intervals and protocols out; resumable, no trace in training.

    result = await evaluate_benchmarks(policy, BenchmarksRequest(({"type": "mmlu"},), seed=1))

Everything that can be wrong with the input is found before the first question is asked. Each benchmark is written
when it is finished; an evaluation that was interrupted goes on where it was, with the answers that were paid for.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.evaluate.items import SOURCES, Item, find_items, fingerprint_items
from gift_dsl.evaluate.judge import Judge, ModelJudge, ReplyCache
from gift_dsl.evaluate.own import (
    STAND_IN,
    Grader,
    Name,
    Prompts,
    Scoring,
    as_rows,
    judged_consistency,
    render_item,
    shipped_prompts,
)
from gift_dsl.evaluate.subject import ChatSubject, PolicySubject, Subject
from gift_dsl.evaluate.summary import BenchmarksResult, combine, summarise, write_json, write_samples
from gift_dsl.plan import EvaluationPlan, JsonMap, digest
from gift_dsl.seat import Message, Player, TokenPolicy

if TYPE_CHECKING:
    from gift_dsl.evaluate.harness import Share

_TASK_SCHEMA: Final = "gift-benchmark/1"
_OF_GRADING: Final = ("scorings", "judge", "order", "references", "limit", "split")
"""Parts of a protocol that no answer depends on."""
_CONVERSATION: Final = (
    Message("system", "Be brief."),
    Message("user", "Hello."),
    Message("assistant", "Hi."),
    Message("user", "Go on."),
)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        benchmark: which one, as results call it.
        done, total: items answered, and in all.
        step: `answers`, then `judge` where there is one; `finished` once, with all done.
    """

    benchmark: str
    done: int
    total: int
    step: str


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarksRequest:
    """What is asked of a subject.

    Attributes:
        benchmarks: type and fields of each, as in the plan's `evaluation.benchmarks`.
        seed: of all sampling and of the judge's draws; `evaluation.seed`.
        temperature, max_tokens: of every answer to our benchmarks. lm-eval's tasks bring their own.
        system: system prompt of our benchmarks; None: the shipped one.
        scorings: `none` is ours, `gift_v1` the paper's; both may be wanted.
        thinking: what the chat template was told; beside every score.
        folder: relative `data_dir`s start here.
        output: results, samples and answers are written here; None: nothing is.
        judges: by the name that CommonGen's `judge` gives: players, or a `StandInJudge`.
        subject_id: identity of the weights; a result of another one is not taken up again.
        share: of the work, where several processes do it; only rank 0 writes and judges.
    """

    benchmarks: tuple[JsonMap, ...]
    seed: int
    temperature: float = 0.5
    max_tokens: int = 600
    system: str | None = None
    scorings: tuple[Scoring, ...] = ("none",)
    thinking: str = "off"
    folder: Path = Path()
    output: Path | None = None
    judges: Mapping[str, Judge | Player] = field(default_factory=lambda: MappingProxyType(dict[str, Judge | Player]()))
    subject_id: str = ""
    share: Share | None = None


def request_of_plan(plan: EvaluationPlan, **more: Any) -> BenchmarksRequest:  # noqa: ANN401 - fields of the request
    """The request of a plan's `evaluation`, with the fields that a plan does not hold."""
    return BenchmarksRequest(plan.benchmarks, plan.seed, plan.temperature, plan.max_tokens, plan.system, **more)


async def evaluate_benchmarks(
    subject: Subject | TokenPolicy | Player,
    request: BenchmarksRequest,
    on_progress: OnProgress = lambda progress: None,
) -> BenchmarksResult:
    """Evaluate a model on benchmarks.

    A policy may be in training: its generators and its train mode are as before when this ends. With `output`, each
    benchmark's `NAME.json`, `samples_NAME.jsonl` and `answers_NAME.jsonl` are there as soon as it is finished, and
    `benchmarks.json` at the end.

    Args:
        subject: a policy in a seat, a player behind a chat API, or either as a `Subject`.
        request: what is asked.
        on_progress: hears how far it is; called from several threads.

    Tasks of lm-eval are called `lm_eval/NAME`, or `lm_eval/NAME@SHOTS` where the number of examples was given.

    Raises:
        UsageError: an unknown benchmark, a judge that is not given, or a log-likelihood task asked of a chat API.
        MachineError: rows are missing or have other columns.
        GiftError: a judge that gives no verdicts.
    """
    from gift_dsl.evaluate.harness import Share, untouched

    share = request.share or Share()
    who = as_subject(subject, request.seed)
    jobs = [_job(benchmark, request, who) for benchmark in request.benchmarks]
    _check_names(jobs)
    await _check_scores(jobs, who)
    policy = who.policy if isinstance(who, PolicySubject) else None
    start = time.monotonic()
    finished: list[dict[str, Any]] = []
    with untouched(getattr(policy, "model", None)):
        for job in jobs:
            done = share.gather(job.read_finished())[0]
            finished.append(done if done is not None else await job.run(on_progress))
            on_progress(Progress(job.key, 1, 1, "finished"))
    result = combine(who.name, finished, time.monotonic() - start)
    if request.output is not None and _is_first(request):
        write_json(request.output / "benchmarks.json", result.to_json())
    return result


def as_subject(subject: Subject | TokenPolicy | Player, seed: int) -> Subject:
    """A policy or a player as a subject. A model in this process is asked nothing longer than its positions allow."""
    if isinstance(subject, TokenPolicy):
        told: int | None = getattr(subject, "max_length", None)
        if told is not None:
            return PolicySubject(subject, seed, max_length=told)
        config: Any = getattr(getattr(subject, "model", None), "config", None)
        longest = None if config is None else getattr(config.get_text_config(), "max_position_embeddings", None)
        return PolicySubject(subject, seed, max_length=longest)
    if isinstance(subject, Player):
        return ChatSubject(subject, seed)
    return subject


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One benchmark, its input checked.

    Attributes:
        key: names its files and, for ours, its task.
        digest: of all that its result depends on.
        protocol: what stands beside the score.
        rename: from lm-eval's names of tasks and groups to those of the result.
        own: one of ours; None where `loaded` holds tasks of lm-eval.
    """

    key: str
    digest: str
    protocol: Mapping[str, Any]
    request: BenchmarksRequest
    subject: Subject
    rename: Callable[[str], str] = str
    own: _Own | None = None
    loaded: Any = None

    @property
    def asked(self) -> str:
        """Names its answers, which another judge may be shown, too."""
        return self.key if self.own is None else self.own.name

    @property
    def _answers_digest(self) -> str:
        """Of all that an answer depends on besides its prompt: how it is graded, and of how many it is one, is not."""
        protocol = {name: value for name, value in self.protocol.items() if name not in _OF_GRADING}
        return _digest(self.asked, protocol, self.request, self.subject)

    def read_finished(self) -> dict[str, Any] | None:
        """The result of an earlier evaluation of the same thing, if nothing in it stayed without an answer."""
        if self.request.output is None:
            return None
        path = self.request.output / f"{self.key}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        known = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        return known if known.get("digest") == self.digest and not known.get("unanswered") else None

    async def run(self, on_progress: OnProgress) -> dict[str, Any]:
        """Ask, grade, and write."""
        from gift_dsl.evaluate.harness import Share
        from gift_dsl.evaluate.kept import KeptAnswers

        output, share = self.request.output, self.request.share or Share()
        if output is None:
            return await self._run(None, share, on_progress)
        alone = output / f"answers_{self.asked}.jsonl"
        mine = alone if share.size == 1 else alone.with_suffix(f".{share.rank}.jsonl")
        beside = {alone, *output.glob(f"{alone.stem}.[0-9]*.jsonl")} - {mine}
        with KeptAnswers(mine, self._answers_digest, sorted(beside)) as kept:
            result = await self._run(kept, share, on_progress)
        return result

    async def _run(self, kept: Any, share: Share, on_progress: OnProgress) -> dict[str, Any]:  # noqa: ANN401
        from gift_dsl.evaluate import harness

        run = harness.Run(
            subject=self.subject,
            loop=asyncio.get_running_loop(),
            kept=kept,
            share=share,
            on_items=lambda done, total: on_progress(Progress(self.key, done, total, "answers")),
            chat=bool(self.protocol["chat_template"]),
            limit=self.protocol["limit"],
        )
        if self.own is None:
            found = await run.in_thread(lambda: harness.run_builtin(self.loaded, run))
        else:
            task = self.own.task(self.request, on_progress)
            found = await run.in_thread(lambda: harness.run_own(task, run))
        about = {"schema": _TASK_SCHEMA, "digest": self.digest, "key": self.key}
        result = {**about, "unanswered": _unanswered(found["samples"]), **self._summarise(found)}
        if self.request.output is not None and share.rank == 0:
            write_samples(self.request.output / f"samples_{self.key}.jsonl", found["samples"])
            write_json(self.request.output / f"{self.key}.json", result)
        return result

    def _summarise(self, found: Mapping[str, Any]) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if self.own is not None and self.own.judge is not None:
            rows = [row for row in found["samples"][self.key] if row["filter"] == self.request.scorings[0]]
            rate = judged_consistency([row["filtered_resps"][0] for row in rows])
            more = {self.key: {"judge": self.own.judge.name, "consistency": rate}}
        return summarise(found, self.protocol, self.rename) | {"more": more}


def _unanswered(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> int:
    """Items that had no answer, or no verdict on it: they are asked again when the evaluation is."""
    return len({(task, row["doc_id"]) for task, rows in samples.items() for row in rows if _is_void(row)})


def _is_void(row: Mapping[str, Any]) -> bool:
    graded = row["filtered_resps"][0] if row["filtered_resps"] else None
    outcome = cast("Mapping[str, Any]", graded).get("outcome") if isinstance(graded, Mapping) else None
    faults = (getattr(getattr(text, "answer", None), "fault", None) for texts in row["resps"] for text in texts)
    return outcome in ("void", "unjudged") or any(fault is not None for fault in faults)


@dataclass(frozen=True, slots=True, eq=False)
class _Own:
    """One of ours."""

    key: str
    name: Name
    items: Sequence[Item]
    prompts: Prompts
    judge: Judge | None
    params: JsonMap
    protocol: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """What its score is called."""
        return "win_tie" if self.name == "commongen" else "acc"

    def _prompt(self, row: Mapping[str, Any]) -> tuple[Message, ...]:
        index: int = row["index"]
        return render_item(self.name, self.items[index], self.prompts)

    def task(self, request: BenchmarksRequest, on_progress: OnProgress) -> Any:  # noqa: ANN401 - of the harness
        """As the harness runs it."""
        from gift_dsl.evaluate.harness import OwnTask

        total = self.params.get("limit") or len(self.items)
        grader = Grader(
            name=self.name,
            items=self.items,
            scorings=request.scorings,
            judge=self.judge,
            order=self.params.get("order", "both"),
            seed=request.seed,
            on_judged=lambda done: on_progress(Progress(self.key, done, total, "judge")),
        )
        return OwnTask(
            name=self.key,
            asked=self.name,
            metric=self.metric,
            rows=as_rows(self.items),
            prompt=self._prompt,
            target=lambda row: row.get("gold") or " | ".join(row["references"]),
            grade=grader.grade,
            max_tokens=request.max_tokens,
            temperature=request.temperature,
            metadata=self.protocol,
        )


def _job(benchmark: JsonMap, request: BenchmarksRequest, subject: Subject) -> _Job:
    kind = benchmark["type"]
    if kind == "lm_eval":
        return _builtin_job(benchmark, request, subject)
    if kind not in SOURCES:
        raise UsageError(f"there is no benchmark `{kind}`; ours are {', '.join(SOURCES)}")
    name = cast(Name, kind)
    judge = _judge(benchmark, request) if name == "commongen" else None
    found = find_items(name, _data_dir(benchmark, request), benchmark.get("revision"))
    prompts = shipped_prompts(request.system, request.max_tokens)
    key = STAND_IN if judge is not None and not judge.is_model else name
    protocol: dict[str, Any] = {
        "kind": "generative, zero-shot, answer element",
        "shots": 0,
        "chat_template": True,
        "template_hash": prompts.hash,
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "thinking": request.thinking,
        "scorings": list(request.scorings),
        "seed": request.seed,
        "limit": benchmark.get("limit"),
        "split": found.split,
        "items": fingerprint_items(found.items),
    }
    if judge is not None:
        protocol |= {"judge": judge.name, "order": benchmark.get("order", "both"), "references": "one, drawn"}
    own = _Own(key, name, found.items, prompts, judge, benchmark, protocol)
    return _Job(key, _digest(key, protocol, request, subject), protocol, request, subject, own=own)


def _builtin_job(benchmark: JsonMap, request: BenchmarksRequest, subject: Subject) -> _Job:
    from importlib.metadata import version

    from gift_dsl.evaluate import harness
    from gift_dsl.evaluate.items import read_split

    task, data_dir = str(benchmark["task"]), _data_dir(benchmark, request)
    read = None if data_dir is None else partial(read_split, task, data_dir)
    harness.check_asked(task, subject)
    loaded = harness.load_builtin([task], benchmark.get("num_fewshot"), read)
    # as lm-eval runs its tasks unless told otherwise; a chat API knows nothing else than chats
    protocol: dict[str, Any] = {
        "kind": f"lm-eval {version('lm-eval')}",
        "task": task,
        "shots": harness.shots_of(loaded),
        "chat_template": subject.is_chat or bool(benchmark.get("chat_template", False)),
        "thinking": request.thinking,
        "seed": request.seed,
        "limit": benchmark.get("limit"),
        "data": "hub" if data_dir is None else "local",
        "items": harness.fingerprint_rows(loaded),
        "template_hash": digest("gift-lm-eval-prompts/1", harness.wording_of(loaded)),
        **harness.sampling_of(loaded),
    }
    shots = benchmark.get("num_fewshot")
    ending = "" if shots is None else f"@{shots}"
    key = f"lm_eval_{task}{ending}"
    rename = partial(_rename, ending)  # our `mmlu` and lm-eval's are two tasks
    return _Job(key, _digest(key, protocol, request, subject), protocol, request, subject, rename, loaded=loaded)


def _rename(ending: str, name: str) -> str:
    return f"lm_eval/{name}{ending}"


def _digest(key: str, protocol: Mapping[str, Any], request: BenchmarksRequest, subject: Subject) -> str:
    who = [subject.name, request.subject_id, chat_hash(subject.policy) if isinstance(subject, PolicySubject) else None]
    return digest(_TASK_SCHEMA, {"key": key, "of": who, "protocol": dict(protocol)})


def chat_hash(policy: TokenPolicy) -> str:
    """Digest of what a model's chat template makes of a conversation, with what it is told of thinking."""
    return digest("gift-chat-template/1", list(policy.codec.render(_CONVERSATION, open_turn=True)))


def _data_dir(benchmark: JsonMap, request: BenchmarksRequest) -> Path | None:
    given = benchmark.get("data_dir")
    return None if given is None else request.folder / Path(given).expanduser()


def _judge(benchmark: JsonMap, request: BenchmarksRequest) -> Judge:
    name = str(benchmark.get("judge"))
    found = request.judges.get(name)
    if found is None:
        raise UsageError(f"benchmark `commongen`: the judge `{name}` is not given; there are {sorted(request.judges)}")
    if not isinstance(found, Player):
        return found
    cache = None if request.output is None else ReplyCache(request.output / "judge_replies.jsonl")
    return ModelJudge(found, request.seed, cache)


def _check_names(jobs: Sequence[_Job]) -> None:
    twice = [key for key, count in Counter(job.key for job in jobs).items() if count > 1]
    if twice:
        raise UsageError(f"the benchmark `{twice[0]}` is asked for twice, and its results would have one name")


async def _check_scores(jobs: Sequence[_Job], subject: Subject) -> None:
    """See, before anything is asked, that there are log-likelihoods where a task compares them: servers may give none.

    Raises:
        MachineError: there are none.
    """
    from gift_dsl.evaluate.harness import compares_scores

    job = next((job for job in jobs if job.own is None and compares_scores(job.loaded)), None)
    if job is None:
        return
    try:
        await subject.score([("One and one is", " two")], lambda more: None)
    except MachineError as error:
        raise MachineError(f"the benchmark `{job.key}` compares log-likelihoods, and {error}") from error


def _is_first(request: BenchmarksRequest) -> bool:
    return request.share is None or request.share.rank == 0
