from __future__ import annotations

import asyncio
import csv
import random
import subprocess
import sys
import threading
from pathlib import Path

import numpy
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from gift_dsl.errors import GiftError, LimitReached, MachineError, UsageError
from gift_dsl.evaluate import harness
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.harness import OwnTask, Run, Share, SubjectLM, run_own, untouched
from gift_dsl.evaluate.kept import KeptAnswers
from gift_dsl.evaluate.subject import Answer, ChatSubject, PolicySubject, Question
from gift_dsl.seat import Message, PlayerFault
from tests.evaluate.ranks import request_for
from tests.evaluate.words import Saying, answer, make_engine, make_model, make_tokenizer, write_rows

ROOT = Path(__file__).resolve().parent.parent.parent
TEXTS = ["Two and two make", "Two and two make ", "The sky is", "", "  Kim had 3 apples.\nHow many? ", "A"]
ENDS = [" four.", " blue", "x", " 17 apples, and a pear"]


def in_loop(work):
    """The result of `work(loop)` in a thread, while the loop runs."""

    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.to_thread(work, loop)

    return asyncio.run(main())


def instance(kind, args, index=0, task="t"):
    return Instance(kind, {}, args, 0, (task, index, 1))


def own_task(rows, **changes):
    async def grade(rows, answers):
        right = [str(row["n"]) in answer.text for row, answer in zip(rows, answers, strict=True)]
        return {"none": [{"outcome": "correct" if one else "wrong", "score": float(one)} for one in right]}

    fields = {
        "name": "counting",
        "asked": "counting",
        "metric": "acc",
        "rows": rows,
        "prompt": lambda row: (Message("system", "Count."), Message("user", f"Say {row['n']}")),
        "target": lambda row: str(row["n"]),
        "grade": grade,
        "max_tokens": 60,
        "temperature": 1.0,
        "metadata": {},
    }
    return OwnTask(**{**fields, **changes})


class Silent:
    """A chat that fails the first `times` times for each message."""

    name, waits = "silent", True

    def __init__(self, times):
        self.times, self.heard = times, {}

    async def act(self, turn, rng):
        said = turn.messages[-1].content
        self.heard[said] = self.heard.get(said, 0) + 1
        if self.heard[said] <= self.times:
            raise PlayerFault(self.name, "no answer")
        return said


def test_log_likelihoods_are_those_of_lm_evals_own_model():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    requests = [instance("loglikelihood", (text, end), 1) for text in TEXTS for end in ENDS]
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4).loglikelihood(requests, disable_tqdm=True)
    subject = PolicySubject(make_engine(model), seed=1)
    ours = in_loop(lambda loop: SubjectLM(Run(subject, loop)).loglikelihood(requests))
    for (total, greedy), (their_total, their_greedy) in zip(ours, theirs, strict=True):
        assert total == pytest.approx(their_total, abs=1e-5, rel=1e-6)  # theirs are float32 sums
        assert greedy == their_greedy


def test_a_whole_text_is_scored_after_what_ends_a_turn():
    tokenizer = make_tokenizer()
    model = make_model(tokenizer)
    requests = [instance("loglikelihood_rolling", (text,)) for text in ("The sky is blue.", "Kim")]
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1).loglikelihood_rolling(requests, True)
    subject = PolicySubject(make_engine(model), seed=1)
    ours = in_loop(lambda loop: SubjectLM(Run(subject, loop)).loglikelihood_rolling(requests))
    assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_prompt_that_is_too_long_loses_its_beginning():
    model = make_model(make_tokenizer())
    short, long = (PolicySubject(make_engine(model), 1, max_length=length) for length in (10, None))
    score = [asyncio.run(one.score([("0123456789 and so on", "xyz")], lambda more: None)) for one in (short, long)]
    [same] = asyncio.run(long.score([("nd so on", "xyz")], lambda more: None))
    assert score[0] == [pytest.approx(same, abs=1e-5)]
    assert score[1] != [pytest.approx(same, abs=1e-5)]


def test_what_is_sampled_for_an_item_does_not_depend_on_its_company():
    subject = PolicySubject(make_engine(), seed=5, rows=3)
    questions = [Question(("t", index, 0), f"Item {index} {'x' * index}", 10, 1.0) for index in range(7)]
    together = asyncio.run(subject.answer(questions, lambda answers: None))
    alone = [asyncio.run(subject.answer([question], lambda answers: None))[0] for question in questions]
    assert together == alone
    assert len({one.text for one in together}) > 1


def test_a_text_ends_before_the_first_of_the_texts_that_end_it():
    subject = PolicySubject(Saying(lambda text: "one two three. Question: four"), seed=1)
    requests = [instance("generate_until", ("Go on", {"until": ["Question:", "two"], "max_gen_toks": 30}))]
    assert in_loop(lambda loop: SubjectLM(Run(subject, loop)).generate_until(requests)) == ["one "]


def test_lm_evals_sampling_options_are_understood():
    heard = []

    class Listening(PolicySubject):
        async def answer(self, questions, note):
            heard.extend(questions)
            return [Answer("") for _ in questions]

    subject = Listening(Saying(str), 1)
    options = [{}, {"do_sample": False, "temperature": 0.7}, {"temperature": 0.7, "max_tokens": 9}, {"until": "x"}]
    requests = [instance("generate_until", ("p", one), index) for index, one in enumerate(options)]
    in_loop(lambda loop: SubjectLM(Run(subject, loop)).generate_until(requests))
    assert [(one.temperature, one.max_tokens, one.until) for one in heard] == [
        (0.0, 256, ()),
        (0.0, 256, ()),
        (0.7, 9, ()),
        (0.0, 256, ("x",)),
    ]
    assert len({one.key for one in heard}) == 4


def test_a_task_of_ours_comes_back_in_lm_evals_shape():
    subject = PolicySubject(Saying(lambda text: answer("4")), seed=1)
    heard = []
    task = own_task([{"n": 4}, {"n": 5}])
    found = in_loop(lambda loop: run_own(task, Run(subject, loop, on_items=lambda *items: heard.append(items))))
    assert found["results"]["counting"]["acc,none"] == 0.5
    assert found["n-samples"]["counting"] == {"original": 2, "effective": 2}
    assert [row["acc"] for row in found["samples"]["counting"]] == [1.0, 0.0]
    assert heard[-1] == (2, 2)


def test_only_the_first_items_are_asked_where_there_is_a_limit():
    policy = Saying(lambda text: answer("4"))
    task = own_task([{"n": 4}] * 5)
    found = in_loop(lambda loop: run_own(task, Run(PolicySubject(policy, 1), loop, limit=2)))
    assert len(policy.asked) == 2
    assert found["n-samples"]["counting"] == {"original": 5, "effective": 2}


def test_random_generators_and_train_mode_are_as_before():
    engine = make_engine()
    engine.model.train()
    engine.model.model.layers[0].eval()
    states = (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: TID251, NPY002
    with untouched(engine.model):
        in_loop(lambda loop: run_own(own_task([{"n": 4}]), Run(PolicySubject(engine, 1), loop)))
        torch.rand(3)
        engine.model.eval()
    assert (random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states  # noqa: TID251, NPY002
    assert engine.model.training
    assert engine.model.model.layers[1].training
    assert not engine.model.model.layers[0].training


def test_several_processes_share_the_work_and_agree_with_one():
    rows = [{"n": number} for number in range(7)]
    alone = in_loop(lambda loop: run_own(own_task(rows), Run(PolicySubject(make_engine(), 1), loop)))
    barrier, box = threading.Barrier(2), [None, None]

    def gather_as(rank):
        def gather(value):
            box[rank] = value
            barrier.wait()
            both = list(box)
            barrier.wait()
            return both

        return gather

    async def both():
        loop = asyncio.get_running_loop()
        engines = [make_engine(), make_engine()]
        runs = [
            Run(PolicySubject(engine, 1), loop, share=Share(rank, 2, gather_as(rank)))
            for rank, engine in enumerate(engines)
        ]
        return await asyncio.gather(*(asyncio.to_thread(_run_bare, own_task(rows), run) for run in runs))

    with untouched(None):
        first, second = asyncio.run(both())
    texts = [[row["resps"] for row in one] for one in (alone["samples"]["counting"], first, second)]
    assert texts[0] == texts[1] == texts[2]


@pytest.mark.slow
def test_two_real_processes_write_what_one_writes(tmp_path):
    write_rows(tmp_path)
    asyncio.run(evaluate_benchmarks(make_engine(), request_for(tmp_path, "alone")))
    command = [sys.executable, "-m", "tests.evaluate.ranks"]
    ranks = [
        subprocess.Popen([*command, str(rank), "2", str(tmp_path), str(tmp_path / "store")], cwd=ROOT)
        for rank in range(2)
    ]
    assert [rank.wait() for rank in ranks] == [0, 0]
    for name in ("samples_mmlu.jsonl", "samples_commongen_stand_in.jsonl", "mmlu.json"):
        assert (tmp_path / "together" / name).read_text() == (tmp_path / "alone" / name).read_text()


def test_what_fails_in_one_process_fails_in_all():
    share = Share(0, 2, lambda mine: [mine, UsageError("the other one failed")])
    with pytest.raises(UsageError, match="the other one failed"):
        share.together(lambda: 1)


def _run_bare(task, run):
    """Two threads stand for two processes, which do not share lm-eval's module."""
    adapted = harness._OwnTask(task, run)
    adapted.build_all_requests(apply_chat_template=True)
    for text, one in zip(SubjectLM(run).generate_until(adapted.instances), adapted.instances, strict=True):
        one.resps.append(text)
    adapted.apply_filters()
    return [{"resps": [one.resps]} for one in adapted.instances]


def test_a_question_without_an_answer_is_asked_again():
    player = Silent(times=2)
    task = own_task([{"n": 4}, {"n": 5}])
    found = in_loop(lambda loop: run_own(task, Run(ChatSubject(player, 1), loop)))
    assert found["results"]["counting"]["acc,none"] == 1.0
    assert set(player.heard.values()) == {3}


def test_an_endpoint_that_answers_nothing_is_not_asked_everything():
    player = Silent(times=99)
    task = own_task([{"n": number} for number in range(500)])
    with pytest.raises(GiftError, match="no answer to any of the first 16 questions: silent: no answer"):
        in_loop(lambda loop: run_own(task, Run(ChatSubject(player, 1, under_way=4), loop)))
    assert len(player.heard) < 25


def test_a_limit_that_is_reached_is_told_as_what_it_is():
    class Poor(Silent):
        async def act(self, turn, rng):
            raise LimitReached("no money")

    with pytest.raises(LimitReached, match="no money"):
        in_loop(lambda loop: run_own(own_task([{"n": 1}]), Run(ChatSubject(Poor(0), 1), loop)))


def test_a_prompt_that_was_cut_is_counted():
    questions = [Question(("t", index), "x" * length, 10, 0.0) for index, length in enumerate((5, 50))]
    answers = asyncio.run(PolicySubject(make_engine(), 1, max_length=20).answer(questions, lambda answers: None))
    assert [one.prompt_cut for one in answers] == [False, True]


def test_what_was_answered_is_not_asked_again_after_an_interruption(tmp_path):
    policy = Saying(lambda text: answer("4") if len(policy.asked) < 4 else 1 / 0)
    rows = [{"n": number} for number in range(6)]

    def run(subject):
        def work(loop):
            with KeptAnswers(tmp_path / "answers.jsonl", "of this") as kept:
                return run_own(own_task(rows), Run(subject, loop, kept=kept))

        return in_loop(work)

    with pytest.raises(ZeroDivisionError):
        run(PolicySubject(policy, 1, rows=1))
    with (tmp_path / "answers.jsonl").open("a") as file:
        file.write('{"key": "cut by a cr')
    again = Saying(lambda text: answer("5"))
    found = run(PolicySubject(again, 1, rows=1))
    assert len(again.asked) == 3
    texts = [row["resps"][0][0] for row in found["samples"]["counting"]]
    assert texts == [answer("4")] * 3 + [answer("5")] * 3


def test_answers_of_another_evaluation_are_not_taken(tmp_path):
    questions = [Question(("t", 0), "p", 9, 0.5)]
    with KeptAnswers(tmp_path / "a.jsonl", "one") as kept:
        kept.add(questions, {0: Answer("yes", truncated=True)})
    with KeptAnswers(tmp_path / "a.jsonl", "one") as kept:
        assert kept.find(questions) == {0: Answer("yes", truncated=True)}
        assert kept.find([Question(("t", 0), "another prompt", 9, 0.5)]) == {}
    with KeptAnswers(tmp_path / "a.jsonl", "two") as kept:
        assert kept.find(questions) == {}


def test_an_evaluation_that_nobody_waits_for_ends():
    begun = threading.Event()

    class Endless(Saying):
        async def complete(self, requests):
            begun.set()
            await asyncio.sleep(3600)

    async def main():
        loop = asyncio.get_running_loop()
        run = Run(PolicySubject(Endless(str), 1), loop)
        work = asyncio.create_task(run.in_thread(lambda: run_own(own_task([{"n": 1}]), run)))
        await asyncio.to_thread(begun.wait)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    asyncio.run(asyncio.wait_for(main(), 30))


def write_mmlu(folder, subject="anatomy"):
    """In the shape that MMLU's CSV files have."""
    for split in ("test", "dev"):
        path = folder / split / f"{subject}_{split}.csv"
        path.parent.mkdir()
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["question", "choice0", "choice1", "choice2", "choice3", "answer"])
            writer.writerows([[f"Which bone is number {n}?", "one", "two", "three", "four", n % 4] for n in range(6)])


def test_a_task_of_lm_eval_runs_on_local_rows(tmp_path):
    write_mmlu(tmp_path)
    benchmark = {"type": "lm_eval", "task": "mmlu_anatomy", "data_dir": str(tmp_path), "num_fewshot": 2}
    result = asyncio.run(evaluate_benchmarks(make_engine(), BenchmarksRequest((benchmark,), seed=1)))
    name = "lm_eval/mmlu_anatomy@2"
    assert result.n_samples[name] == {"original": 6, "effective": 6}
    assert result.protocols[name]["shots"] == 2
    low, high = result.intervals[name]["acc,none"]
    assert low <= result.results[name]["acc,none"] <= high


def test_bad_input_for_a_task_of_lm_eval_is_named(tmp_path):
    def evaluate(task, subject, **more):
        request = BenchmarksRequest(({"type": "lm_eval", "task": task, **more},), seed=1)
        return asyncio.run(evaluate_benchmarks(subject, request))

    with pytest.raises(UsageError, match="lm-eval has no task `mmlu_anatomie`"):
        evaluate("mmlu_anatomie", Saying(str))
    with pytest.raises(MachineError, match=r"expected `anatomy/test.jsonl`; found no file"):
        evaluate("mmlu_anatomy", Saying(str), data_dir=str(tmp_path))
    write_mmlu(tmp_path)
    with pytest.raises(UsageError, match="`mmlu_anatomy` compares log-likelihoods, and `silent` is a chat API"):
        evaluate("mmlu_anatomy", Silent(0), data_dir=str(tmp_path))


def test_a_chat_api_gives_no_log_likelihoods():
    with pytest.raises(UsageError, match="`silent` is a chat API, which gives no log-likelihood"):
        asyncio.run(ChatSubject(Silent(0), 1).score([("a", "b")], lambda more: None))


def test_an_answer_that_has_begun_is_continued():
    policy = Saying(lambda text: "four")
    prompt = (Message("user", "Say it."), Message("assistant", "The answer is"))
    asyncio.run(PolicySubject(policy, 1).answer([Question(("t", 0), prompt, 20, 0.0)], lambda answers: None))
    assert policy.asked[0].endswith("assistant\nThe answer is")


def test_a_fault_is_not_kept(tmp_path):
    questions = [Question(("t", 0), "p", 9, 0.5)]
    with KeptAnswers(tmp_path / "a.jsonl", "one") as kept:
        kept.add(questions, {0: Answer("", fault="no answer")})
        assert kept.find(questions) == {}


def test_an_empty_text_ends_no_answer():
    subject = PolicySubject(Saying(lambda text: "one two"), seed=1)
    requests = [instance("generate_until", ("Go on", {"until": ["", "three"]}))]
    assert in_loop(lambda loop: SubjectLM(Run(subject, loop)).generate_until(requests)) == ["one two"]
