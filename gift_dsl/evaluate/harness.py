# pyright: basic
# ruff: noqa: ANN401 - lm-eval is typed by its documentation
"""lm-eval, met here and nowhere else: a `Subject` as its LM, our benchmarks as its tasks, its own tasks as they are.

lm-eval is synchronous and its model calls are not: it runs in a thread, and each call goes to the event loop that the
subject lives in.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any, Final

import lm_eval.api.task as lm_eval_task
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.task import ConfigurableTask, Task
from lm_eval.config.task import TaskConfig
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks import manager as lm_eval_manager
from lm_eval.tasks._index import Kind, TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

from gift_dsl.data import hub_within_reach
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.evaluate.generators import kept_generators
from gift_dsl.evaluate.kept import KeptAnswers
from gift_dsl.evaluate.subject import Answer, Prompt, Question, Score, Subject
from gift_dsl.evaluate.task_files import TaskFiles
from gift_dsl.seat import Message

_LOG: Final = logging.getLogger(__name__)
_SEEDS: Final = (0, 1234, 1234)
"""Of `random`, numpy and torch: lm-eval's own, so that its tasks draw what they draw there."""
_MAX_TOKENS: Final = 256
"""lm-eval's, where a task does not say."""
_LIMIT_KEYS: Final = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_PASSES: Final = 3
_WORDING: Final = (
    "description", "doc_to_text", "doc_to_target", "doc_to_choice", "target_delimiter", "fewshot_delimiter",
    "gen_prefix", "use_prompt",
)  # fmt: skip
"""Parts of a task of lm-eval that words come from."""

Row = Mapping[str, Any]
Graded = Mapping[str, Any]
"""What is known of one answer: `outcome`, `answer`, `score` (None where there is none) and more, as JSON."""
Grade = Callable[[Sequence[Row], Sequence[Answer]], Coroutine[Any, Any, Mapping[str, Sequence[Graded]]]]
"""Grades all answers of a task at once: for each scoring (lm-eval: filter) one verdict a row."""
OnItems = Callable[[int, int], None]
"""Hears (items done, items in all)."""


@dataclass(frozen=True, slots=True)
class OwnTask:
    """One of our benchmarks, as lm-eval is to see it.

    Attributes:
        name: of the task.
        asked: of its questions: the same for tasks that differ in who judges the answers.
        metric: name of the score.
        rows: JSON values.
        prompt: the messages for a row.
        target: what samples show as the right answer.
        grade: grades answers.
        max_tokens, temperature: of every answer.
        metadata: kept in the task's configuration.
    """

    name: str
    asked: str
    metric: str
    rows: Sequence[Row]
    prompt: Callable[[Row], tuple[Message, ...]]
    target: Callable[[Row], str]
    grade: Grade
    max_tokens: int
    temperature: float
    metadata: Row


@dataclass(frozen=True, slots=True)
class Share:
    """One of several processes that share the work: each answers every `size`-th question.

    Attributes:
        rank: in [0, size).
        size: number of processes.
        gather: from one value of each process to the list of all, in order of rank; every process calls it.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Any], Sequence[Any]] = field(default=lambda value: [value])

    def together(self, work: Callable[[], Any]) -> Sequence[Any]:
        """The results of all processes' work. What fails in one fails in all: none waits for another for ever."""
        try:
            mine: Any = work()
        except GiftError as error:
            mine = error
        results = self.gather(mine)
        for one in results:
            if isinstance(one, GiftError):
                raise one
        return results


@dataclass(frozen=True, slots=True)
class Run:
    """How tasks are run, whatever they are.

    Attributes:
        subject: who answers.
        loop: where it lives.
        kept: answers on disk; None: nothing is kept.
        share: of the work.
        on_items: hears of progress.
        chat: prompts go through the chat template.
        system: system prompt of lm-eval's own tasks.
        limit: only the first so many items of each task.
        stopped, under_way: how lm-eval's thread hears that nobody waits for it.
    """

    subject: Subject
    loop: asyncio.AbstractEventLoop
    kept: KeptAnswers | None = None
    share: Share = Share()
    on_items: OnItems = lambda done, total: None
    chat: bool = True
    system: str | None = None
    limit: int | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    under_way: list[Future[Any]] = field(default_factory=list)

    def call(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result of work in the subject's event loop; called from lm-eval's thread."""
        if self.stopped.is_set():
            work.close()
            raise CancelledError
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        self.under_way.append(future)
        try:
            return future.result()
        finally:
            self.under_way.remove(future)

    async def in_thread(self, work: Callable[[], Any]) -> Any:
        """The result of work in a thread; what it waits for ends when nobody waits for it any more."""
        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self.stopped.set()
            for future in tuple(self.under_way):
                future.cancel()
            raise


def run_own(task: OwnTask, run: Run) -> dict[str, Any]:
    """lm-eval's result of one of our benchmarks, samples included."""
    adapted = _OwnTask(task, run)
    return _evaluate({"tasks": {task.name: adapted}, "groups": {}}, run)


def run_builtin(loaded: Any, run: Run) -> dict[str, Any]:
    """lm-eval's result of tasks of its own, samples included."""
    return _evaluate(loaded, run)


def check_asked(name: str, subject: Subject) -> None:
    """Refuse what a subject cannot be asked, before any row is read.

    Args:
        name: of a task, group or tag.
        subject: who is to be asked.

    Raises:
        UsageError: a task needs log-likelihoods, and the subject is a chat API.
    """
    for task, kind in _output_types(make_manager([name]).task_index, name):
        if subject.is_chat and kind != "generate_until":
            raise UsageError(
                f"the lm-eval task `{task}` compares log-likelihoods, and `{subject.name}` is a chat API, which gives "
                "none: use a generative task (`mmlu_generative`), or one of our own benchmarks"
            )


def _output_types(index: Mapping[str, Any], name: str) -> Iterator[tuple[str, str]]:
    """Of every task that a name stands for; one whose file says none generates, which is lm-eval's default."""
    entry = index.get(name)
    if entry is None:
        return
    config = entry.cfg or {}
    if entry.kind in (Kind.GROUP, Kind.TAG):
        for member in _members(config.get("task")) if entry.kind is Kind.GROUP else sorted(entry.tags):
            yield from _output_types(index, member)
    else:
        yield name, str(config.get("output_type", "generate_until"))


def compares_scores(loaded: Any) -> bool:
    """Whether one of these tasks needs log-likelihoods."""
    return any(task.OUTPUT_TYPE != "generate_until" for task in loaded["tasks"].values())


def shots_of(loaded: Any) -> int | list[int]:
    """Examples in the prompts of tasks: one number, or all that occur."""
    shots = sorted({task.get_config("num_fewshot") or 0 for task in loaded["tasks"].values()})
    return shots[0] if len(shots) == 1 else shots


def fingerprint_rows(loaded: Any) -> str:
    """sha256 of the rows that tasks ask and take examples from, as they were loaded, wherever they came from."""
    found = hashlib.sha256()
    for name, task in sorted(loaded["tasks"].items()):
        for place, rows in _rows_asked(task):
            found.update(f"{name}\0{place}\n".encode())
            for row in rows:
                found.update(json.dumps(row, sort_keys=True, default=str).encode() + b"\n")
    return found.hexdigest()


def _rows_asked(task: Any) -> Iterator[tuple[str, Any]]:
    """Before a task changes them, which some do by chance."""
    config, dataset = task.config, task.dataset or {}
    rows = dataset.get(config.test_split or config.validation_split)
    yield "asked", task.eval_docs if rows is None else rows
    given = (config.fewshot_split, config.training_split, config.validation_split, config.test_split)
    examples = next((split for split in given if split is not None), None)
    if config.num_fewshot and examples in dataset:
        yield "examples", dataset[examples]


def wording_of(loaded: Any) -> dict[str, Any]:
    """By task, how a row becomes a prompt and its answers: templates, and the source of functions."""
    configs = {name: task.config.to_dict() for name, task in sorted(loaded["tasks"].items())}
    return {name: {key: str(one[key]) for key in _WORDING if key in one} for name, one in configs.items()}


def sampling_of(loaded: Any) -> dict[str, Any]:
    """Most tokens and temperature of generated answers: one value, or all that occur; nothing where none are."""
    kinds = [task.config for task in loaded["tasks"].values() if task.OUTPUT_TYPE == "generate_until"]
    asked = [_question((), ("", one.generation_kwargs or {})) for one in kinds]
    found = {
        "max_tokens": sorted({one.max_tokens for one in asked}),
        "temperature": sorted({one.temperature for one in asked}),
    }
    return {name: values[0] if len(values) == 1 else values for name, values in found.items() if values}


def load_builtin(
    names: Sequence[str],
    num_fewshot: int | None = None,
    read: Callable[[str | None, str], list[Row]] | None = None,
) -> Any:
    """Tasks and groups of lm-eval, with their rows.

    Args:
        names: of tasks, groups or tags.
        num_fewshot: examples in the prompt; the task's own where None. A task that fixes 0 keeps it.
        read: the rows of (configuration, split) of a dataset instead of those of the hub.

    Raises:
        UsageError: there is no such task.
        MachineError: its rows cannot be had.
    """
    manager = make_manager(names)
    for name in names:
        if name not in manager.task_index:
            close = _task_files().like(name)[:5]
            hint = f"; there are {', '.join(close)}" if close else ""
            raise UsageError(f"lm-eval has no task `{name}`{hint}")
    with _quiet(), _rows_from(read), kept_generators(), nullcontext() if read else hub_within_reach() as problem:
        try:
            loaded = manager.load(list(names))
        except GiftError:
            raise
        except (OSError, ValueError, ImportError, AssertionError, KeyError) as error:
            why = (
                _first(error)
                if problem is None
                else f"its rows are not on this machine, and {problem}; or give `data_dir`"
            )
            raise MachineError(f"the lm-eval task `{', '.join(names)}` cannot be loaded: {why}") from error
    for task in loaded["tasks"].values():
        own = task.get_config("num_fewshot")
        shots = num_fewshot if num_fewshot is not None and own != 0 else own or 0
        task.set_config("num_fewshot", shots)
        task.set_fewshot_seed(seed=_SEEDS[-1])
    return loaded


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Random generators and train mode as they are now, whatever happens inside: for a model in training.

    Args:
        model: a torch module; None where there is none.
    """
    modes = {} if model is None else {module: module.training for module in model.modules()}
    with kept_generators():
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode


class SubjectLM(LM):
    """A subject as lm-eval asks for one."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self._done, self._total = 0, 0

    @property
    def tokenizer_name(self) -> str:
        """Of the fingerprint of a cache that is not used."""
        return self._run.subject.name

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Messages as a text that `_prompt` reads again: the codec renders them, with special tokens made harmless."""
        return _Chat(json.dumps(chat_history, ensure_ascii=False))

    def generate_until(self, requests: list[Instance]) -> list[Any]:
        """A text for each request: an `_Text`, which knows its `Answer`."""
        seen: Counter[tuple[Any, ...]] = Counter()
        questions = []
        for request in requests:
            name = (request.task_name or "", request.doc_id or 0, request.idx)
            questions.append(_question((*name, seen[name]), request.args))
            seen[name] += 1
        return [_Text(answer) for answer in self._answers(questions)]

    def loglikelihood(self, requests: list[Instance]) -> list[Score]:
        """Score of each (context, continuation)."""
        return self._scores([(_prompt(context), continuation) for context, continuation in _args(requests)])

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability of each whole text."""
        return [total for total, _ in self._scores([("", text) for (text,) in _args(requests)])]

    def _scores(self, pairs: list[tuple[Prompt, str]]) -> list[Score]:
        share = self._run.share
        mine = pairs[share.rank :: share.size]
        self._done, self._total = 0, len(mine)
        found = share.together(lambda: list(self._run.call(self._run.subject.score(mine, self._count))))
        return _interleave(found, len(pairs))

    def _answers(self, questions: list[Question]) -> list[Answer]:
        share = self._run.share
        mine = questions[share.rank :: share.size]
        return _interleave(share.together(lambda: self._answer_mine(mine)), len(questions))

    def _answer_mine(self, mine: list[Question]) -> list[Answer]:
        answers = self._run.kept.find(mine) if self._run.kept is not None else {}
        self._done, self._total = 0, len(mine)
        self._count(len(answers))
        for _ in range(_PASSES):
            left = [index for index in range(len(mine)) if index not in answers or answers[index].fault is not None]
            if left:
                answers |= self._ask(mine, left)
        return [answers[index] for index in range(len(mine))]

    def _ask(self, questions: list[Question], left: list[int]) -> dict[int, Answer]:
        asked = [questions[index] for index in left]

        def note(answers: Mapping[int, Answer]) -> None:
            if self._run.kept is not None:
                self._run.kept.add(asked, answers)
            self._count(sum(answer.fault is None for answer in answers.values()))

        found = self._run.call(self._run.subject.answer(asked, note))
        return dict(zip(left, found, strict=True))

    def _count(self, more: int) -> None:
        self._done += more
        self._run.on_items(self._done, self._total)


class _Chat(str):
    """Messages as JSON, so that lm-eval can hash and log them as it does with any prompt."""

    __slots__ = ()


class _Text(str):
    """A text that knows more about itself than lm-eval wants to."""

    answer: Answer

    def __new__(cls, answer: Answer) -> _Text:
        text = super().__new__(cls, answer.text)
        text.answer = answer
        return text


class _OwnTask(Task):
    """A benchmark of ours behind lm-eval's interface."""

    VERSION = 1
    OUTPUT_TYPE = "generate_until"

    def __init__(self, own: OwnTask, run: Run) -> None:
        self._own, self._run = own, run
        sampling = {"until": [], "max_gen_toks": own.max_tokens, "temperature": own.temperature}
        # the constructor of `Task` downloads, and takes a configuration for the name of the task
        self._config = TaskConfig(
            task=own.name,
            output_type="generate_until",
            generation_kwargs=sampling,
            num_fewshot=0,
            metadata={"version": self.VERSION, **own.metadata},
        )
        self._instances = None

    def has_training_docs(self) -> bool:
        """No."""
        return False

    def has_validation_docs(self) -> bool:
        """No."""
        return False

    def has_test_docs(self) -> bool:
        """Yes."""
        return True

    def test_docs(self) -> Sequence[Row]:
        """All rows."""
        return self._own.rows

    def doc_to_text(self, doc: Row) -> str:
        """What the user says."""
        return self._own.prompt(doc)[-1].content

    def doc_to_target(self, doc: Row) -> str:
        """The right answer."""
        return self._own.target(doc)

    def fewshot_context(
        self, doc: Row, num_fewshot: int = 0, rnd: Any = None, description: Any = None, **_: Any
    ) -> str:
        """The prompt; there are no examples in it."""
        return _Chat(json.dumps([_as_dict(message) for message in self._own.prompt(doc)], ensure_ascii=False))

    def construct_requests(self, doc: Row, ctx: str, **options: Any) -> list[Instance]:
        """One request."""
        _, *place = options["metadata"]
        metadata = (self._own.asked, *place)  # names the question, and with it what is sampled
        arguments = (ctx, self.config.generation_kwargs)
        return [Instance("generate_until", dict(doc), arguments, 0, metadata)]

    def apply_filters(self) -> list[Instance] | None:
        """Grade everything at once; each scoring is a filter."""
        instances = self.instances
        answers = [instance.resps[0].answer for instance in instances]
        rows, share = [instance.doc for instance in instances], self._run.share
        graded = share.together(lambda: self._run.call(self._own.grade(rows, answers)) if share.rank == 0 else None)
        for name, verdicts in graded[0].items():
            for instance, verdict in zip(instances, verdicts, strict=True):
                instance.filtered_resps[name] = verdict
        return None

    def process_results(self, doc: Row, results: list[Graded]) -> dict[str, Any]:
        """The score of one item."""
        return {self._own.metric: results[0]["score"]}

    def aggregation(self) -> dict[str, Callable[[list[float | None]], float]]:
        """The mean of what has a score."""
        return {self._own.metric: mean_of_scored}

    def higher_is_better(self) -> dict[str, bool]:
        """Yes."""
        return {self._own.metric: True}


def mean_of_scored(scores: Sequence[float | None]) -> float:
    """The mean of the scores that there are; nan where there is none."""
    known = [score for score in scores if score is not None]
    return fmean(known) if known else float("nan")


def _evaluate(loaded: Any, run: Run) -> dict[str, Any]:
    with _quiet(), kept_generators():
        _seed_all()
        found = evaluate(
            SubjectLM(run),
            loaded,
            limit=run.limit,
            bootstrap_iters=0,  # its bootstrap forks this process
            log_samples=True,
            apply_chat_template=run.chat,
            fewshot_as_multiturn=run.chat,
            system_instruction=run.system,
        )
    assert found is not None
    return dict(found)


def _question(key: tuple[str | int, ...], args: tuple[Any, ...]) -> Question:
    context, options = args[0], dict(args[1])
    until = options.get("until") or ()
    greedy = options.get("do_sample") is False
    return Question(
        key=key,
        prompt=_prompt(context),
        max_tokens=next((int(options[name]) for name in _LIMIT_KEYS if name in options), _MAX_TOKENS),
        temperature=0.0 if greedy else float(options.get("temperature") or 0.0),
        until=(until,) if isinstance(until, str) else tuple(until),
    )


def _prompt(context: str) -> Prompt:
    if not isinstance(context, _Chat):
        return context
    return tuple(Message(message["role"], message["content"]) for message in json.loads(context))


def _args(requests: Sequence[Instance]) -> Iterator[tuple[Any, ...]]:
    return (request.args for request in requests)


def _as_dict(message: Message) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def _interleave(shares: Sequence[Sequence[Any]], total: int) -> list[Any]:
    """The inverse of `items[rank::size]`."""
    return [shares[index % len(shares)][index // len(shares)] for index in range(total)]


def make_manager(names: Sequence[str]) -> TaskManager:
    """lm-eval's manager of tasks, which knows these names and all that they stand for, and little else.

    What it knows is what it would know of them if it had read all of its files, which takes seconds.
    """
    manager, files = TaskManager(include_defaults=False), _task_files()
    configs: dict[Path, dict[str, Any]] = {}
    waiting, seen = list(names), set(names)
    while waiting:
        for path in files.holding(waiting.pop()):
            if path not in configs:
                configs[path] = _read_task_file(path)
            new = set(_names_in(configs[path], seen)) - seen
            seen |= new
            waiting += new
    with _quiet():
        for path in sorted(configs, key=Path.as_posix):  # the first of equal names counts
            with suppress(ValueError):  # a file that others include, or none of a task
                TaskIndex.process_cfg(configs[path], path, manager.task_index)
    return manager


def _read_task_file(path: Path) -> dict[str, Any]:
    """Its keys, functions by their names; of what cannot be read none, as in lm-eval's own index."""
    try:
        return load_yaml(path, resolve_func=False)
    except Exception as error:  # noqa: BLE001 - lm-eval catches all, too
        _LOG.debug("%s is not read: %s", path, error)
        return {}


def _names_in(config: dict[str, Any], wanted: set[str]) -> Iterator[str]:
    """What one must know to know a file: the members of a group that is wanted, a task that has a tag that is."""
    tags = TaskIndex._str_to_set(config.get("tag"))
    if isinstance(config.get("group"), str):
        if config["group"] in wanted:
            yield from _members(config.get("task"))
    elif isinstance(config.get("task"), str) and tags & wanted:
        yield config["task"]


def _members(listed: Any) -> Iterator[str]:
    """Names in the `task` of a group; groups may stand in it whole."""
    for item in listed if isinstance(listed, list) else [listed]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from (value for value in (item.get("group"),) if value)
            yield from _members(item.get("task"))


@lru_cache(maxsize=1)
def _task_files() -> TaskFiles:
    return TaskFiles(Path(lm_eval_manager.__file__).parent)


@contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval without its bars and its advice: the caller shows progress."""
    logger = logging.getLogger("lm_eval")
    level, bar = logger.level, lm_eval_task.tqdm
    logger.setLevel(logging.ERROR)
    lm_eval_task.tqdm = lambda items, **_: items  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        lm_eval_task.tqdm = bar
        logger.setLevel(level)


@contextmanager
def _rows_from(read: Callable[[str | None, str], list[Row]] | None) -> Iterator[None]:
    """Tasks that are loaded inside take their rows from `read`; `custom_dataset` ones from where they always do."""
    if read is None:
        yield
        return
    original = ConfigurableTask.download

    def download(task: ConfigurableTask, dataset_kwargs: Any = None, **options: Any) -> None:
        config = task.config
        if config.custom_dataset is not None:
            original(task, dataset_kwargs, **options)
            return
        asked = (config.training_split, config.validation_split, config.test_split, config.fewshot_split)
        splits = [split for split in dict.fromkeys(asked) if split is not None]
        make = lm_eval_task.datasets.Dataset.from_list
        task.dataset = {split: make([dict(row) for row in read(task.DATASET_NAME, split)]) for split in splits}

    ConfigurableTask.download = download  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        ConfigurableTask.download = original


def _seed_all() -> None:
    """As lm-eval does; only inside `kept_generators`."""
    import numpy

    random.seed(_SEEDS[0])  # noqa: TID251
    numpy.random.seed(_SEEDS[1])  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(_SEEDS[2])


def _first(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
