"""The five benchmarks in the paper's protocol: no examples, one chat message, the answer in an `<answer>` element.

Two scorings, each a filter of lm-eval's: `none` reads answers as the games do (harmless variants count, mathematics
is compared as LaTeX), `gift_v1` as the paper's scripts do (`gift_v1`). Both see the same completions.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from gift_dsl.evaluate import gift_v1
from gift_dsl.evaluate.items import Item
from gift_dsl.evaluate.judge import Judge, Judged, Order, Pair, draw_reference, judge_pairs, readable_concept
from gift_dsl.evaluate.subject import Answer
from gift_dsl.games.grading import Verdict, fold_text, grade_math, parse_choice
from gift_dsl.plan import digest
from gift_dsl.play.parse import BadFormat, parse_answer
from gift_dsl.prompts.library import load_template
from gift_dsl.prompts.render import render_prompt
from gift_dsl.seat import Message

Scoring = Literal["none", "gift_v1"]
Name = Literal["math500", "mmlu", "mmlu_pro", "social_iqa", "commongen"]
Graded = Mapping[str, Any]

STAND_IN: Final = "commongen_stand_in"
"""What CommonGen with a judge that is no model is called."""
_V1_LAST: Final[Mapping[str, str]] = {"mmlu": "D", "mmlu_pro": "J", "social_iqa": "D"}
_WORKERS: Final = 4
_LETTER_AND_TEXT: Final = re.compile(r"\(?([A-Za-z])[.):]\s*(\S.*)", re.DOTALL)
_MARKED: Final = re.compile(r"\$(.*)\$|\\\((.*)\\\)|\\boxed\{(.*)\}|\\text\{(.*)\}", re.DOTALL)
_COMMONGEN: Final = (
    "Write one short and simple sentence about a common scene of daily life. It must contain all of these words, each "
    "as the stated part of speech and in any form: {concepts}."
)


@dataclass(frozen=True, slots=True)
class Prompts:
    """What is said besides the items.

    Attributes:
        system: the system prompt.
        question: Jinja2 text of an item.
        answer: the sentence that asks for the answer element.
    """

    system: str
    question: str
    answer: str

    @property
    def hash(self) -> str:
        """Digest of all three texts."""
        return digest("gift-benchmark-prompts/1", [self.system, self.question, self.answer])


def shipped_prompts(system: str | None, max_tokens: int) -> Prompts:
    """The texts that training uses, too; another system prompt where one is given."""
    values = {"tag": "answer", "think": True, "max_tokens": max_tokens}
    return Prompts(
        system=load_template("system").strip() if system is None else system,
        question=load_template("question"),
        answer=render_prompt(load_template("answer_tag"), values),
    )


def render_item(name: Name, item: Item, prompts: Prompts) -> tuple[Message, ...]:
    """The conversation that an item opens."""
    if name == "commongen":
        text = item.instruction.strip() or _COMMONGEN.format(concepts=", ".join(map(readable_concept, item.concepts)))
    else:
        values = {
            "question": item.question,
            "choices": list(zip(item.letters, item.choices, strict=True)),
            "kind": "choice" if item.choices else "math",
            **dict.fromkeys(("feedback", "penalty", "retry_reason")),
        }
        text = render_prompt(prompts.question, values)
    return Message("system", prompts.system), Message("user", f"{text}\n\n{prompts.answer}")


def read_choice(answer: str, item: Item) -> str | None:
    """The letter of an answer: alone (`B`, `(b)`, `**B**`, `B.`, `$B$`), or with the text of that very choice."""
    text = answer.strip()
    if match := _MARKED.fullmatch(text):
        text = next(group for group in match.groups() if group is not None).strip()
    letter = parse_choice(text, item.letters)
    if letter is not None:
        return letter
    match = _LETTER_AND_TEXT.fullmatch(text)
    if match is None or match[1].upper() not in item.letters:
        return None
    own = item.choices[item.letters.index(match[1].upper())]
    same = fold_text(match[2]).rstrip(".") == fold_text(own).rstrip(".")
    return match[1].upper() if same else None


@dataclass(frozen=True)
class Grader:
    """Grades the answers of one benchmark. `judged` is filled by CommonGen's.

    Attributes:
        name: of the benchmark.
        items: all of them.
        scorings: which are wanted.
        judge, order: of CommonGen.
        seed: of the judge's draws.
        on_judged: hears how many items have been judged.
    """

    name: Name
    items: Sequence[Item]
    scorings: tuple[Scoring, ...]
    judge: Judge | None = None
    order: Order = "both"
    seed: int = 1
    on_judged: Callable[[int], None] = lambda done: None

    async def grade(
        self, rows: Sequence[Mapping[str, Any]], answers: Sequence[Answer]
    ) -> Mapping[str, Sequence[Graded]]:
        """Verdicts by scoring, in the order of the rows, which know their item by `index`."""
        indices: list[int] = [row["index"] for row in rows]
        items = [self.items[index] for index in indices]
        if self.name == "commongen":
            return await self._judge(indices, items, answers)
        how = _grade_all_math if self.name == "math500" else self._grade_choices
        graded: dict[str, Sequence[Graded]] = {}
        for scoring in self.scorings:
            graded[scoring] = await asyncio.to_thread(how, items, answers, scoring)
        return graded

    def _grade_choices(self, items: Sequence[Item], answers: Sequence[Answer], scoring: Scoring) -> list[Graded]:
        if scoring == "gift_v1":
            last = _V1_LAST[self.name]
            return [_v1_choice(item, answer, last) for item, answer in zip(items, answers, strict=True)]
        return [_grade_choice(item, answer) for item, answer in zip(items, answers, strict=True)]

    async def _judge(
        self, indices: Sequence[int], items: Sequence[Item], answers: Sequence[Answer]
    ) -> Mapping[str, Sequence[Graded]]:
        """Both scorings read what the judge said once; the paper's asks for a sentence that ours may refuse."""
        assert self.judge is not None
        read: dict[Scoring, list[str | None]] = {
            scoring: [_sentence(answer, scoring) for answer in answers] for scoring in self.scorings
        }
        wanted = {
            (place, text): Pair(
                str(indices[place]),
                items[place].concepts,
                text,
                draw_reference(items[place].references, self.seed, str(indices[place])),
            )
            for sentences in read.values()
            for place, text in enumerate(sentences)
            if text is not None
        }
        judged = await judge_pairs(
            self.judge, list(wanted.values()), order=self.order, seed=self.seed, on_done=self.on_judged
        )
        found = dict(zip(wanted, judged, strict=True))
        return {
            scoring: [
                _grade_judged(answer, found.get((place, text)) if text is not None else None, text, scoring)
                for place, (answer, text) in enumerate(zip(answers, sentences, strict=True))
            ]
            for scoring, sentences in read.items()
        }


def judged_consistency(graded: Sequence[Graded]) -> float | None:
    """Share of the items judged alike in both orders."""
    known = [one["consistent"] for one in graded if one.get("consistent") is not None]
    return fmean(known) if known else None


def as_rows(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Items as JSON values, each with its index."""
    return [{"index": index, **item.to_json()} for index, item in enumerate(items)]


def _graded(outcome: str, score: float | None, answer: str | None = None, detail: str = "") -> dict[str, Any]:
    return {"outcome": outcome, "score": score, "answer": answer, "detail": detail}


def _void(answer: Answer) -> dict[str, Any]:
    return _graded("void", None, detail=answer.fault or "")


def _read(answer: Answer) -> str | Graded:
    """The content of the answer element, or the verdict on a completion without one."""
    if answer.fault is not None:
        return _void(answer)
    parsed = parse_answer(answer.text)
    return _graded("bad_format", 0.0, detail=parsed.reason) if isinstance(parsed, BadFormat) else parsed.answer


def _grade_choice(item: Item, answer: Answer) -> Graded:
    read = _read(answer)
    if not isinstance(read, str):
        return read
    letter = read_choice(read, item)
    if letter is None:
        return _graded("unreadable", 0.0, read, f"not one of the letters {', '.join(item.letters)}")
    return _graded("correct", 1.0, letter) if letter == item.gold else _graded("wrong", 0.0, letter)


def _v1_choice(item: Item, answer: Answer, last: str) -> Graded:
    if answer.fault is not None:
        return _void(answer)
    read = gift_v1.read_answer(answer.text)
    if read is None:
        return _graded("bad_format", 0.0, detail="no <answer> element")
    letter = gift_v1.read_letter(read, last)
    if letter is None:
        return _graded("unreadable", 0.0, read)
    return _graded("correct", 1.0, letter) if letter == item.gold else _graded("wrong", 0.0, letter)


def _grade_all_math(items: Sequence[Item], answers: Sequence[Answer], scoring: Scoring) -> list[Graded]:
    if scoring == "gift_v1":
        return _v1_math(items, answers)
    read = [_read(answer) for answer in answers]
    with ThreadPoolExecutor(_WORKERS) as pool:  # the threads wait, their worker processes compute
        verdicts = pool.map(_grade_math, [item.gold for item in items], read)
        return list(verdicts)


def _grade_math(gold: str, read: str | Graded) -> Graded:
    if not isinstance(read, str):
        return read
    verdict: Verdict = grade_math(gold, read)
    outcome = "correct" if verdict.correct else "wrong" if verdict.reason == "different" else verdict.reason
    return _graded(outcome, float(verdict.correct), read, verdict.detail)


def _v1_math(items: Sequence[Item], answers: Sequence[Answer]) -> list[Graded]:
    read = [None if answer.fault is not None else gift_v1.read_answer(answer.text) for answer in answers]
    known = [index for index, text in enumerate(read) if text is not None]
    equal = gift_v1.verify_math([(items[index].gold, read[index] or "") for index in known])
    verdicts = dict(zip(known, equal, strict=True))
    graded: list[Graded] = []
    for index, answer in enumerate(answers):
        if answer.fault is not None:
            graded.append(_void(answer))
        elif index not in verdicts:
            graded.append(_graded("bad_format", 0.0, detail="no <answer> element"))
        else:
            graded.append(_graded("correct" if verdicts[index] else "wrong", float(verdicts[index]), read[index]))
    return graded


def _sentence(answer: Answer, scoring: Scoring) -> str | None:
    """The sentence to judge; None where there is none."""
    if answer.fault is not None:
        return None
    if scoring == "gift_v1":
        return gift_v1.read_answer(answer.text)
    parsed = parse_answer(answer.text)
    return None if isinstance(parsed, BadFormat) else parsed.answer


def _grade_judged(answer: Answer, judged: Judged | None, sentence: str | None, scoring: Scoring) -> Graded:
    if answer.fault is not None:
        return _void(answer)
    if judged is None:
        return _graded("bad_format", 0.0, detail="no sentence in an <answer> element")
    more = {"verdicts": list(judged.verdicts), "replies": list(judged.replies), "consistent": judged.is_consistent}
    if scoring == "gift_v1":
        verdict = judged.gift_v1_verdict
        score = None if verdict is None else float(verdict != "lose")
        return {**_graded(verdict or "unjudged", score, sentence), **more}
    return {**_graded(_judged_outcome(judged), judged.score, sentence), **more}


def _judged_outcome(judged: Judged) -> str:
    """Of both orders, in our scoring."""
    if None in judged.verdicts:
        return "unjudged"
    return judged.verdicts[0] or "" if len(set(judged.verdicts)) == 1 else "split"
