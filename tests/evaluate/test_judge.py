from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from gift_dsl.errors import GiftError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.judge import (
    Judged,
    ModelJudge,
    Pair,
    ReplyCache,
    StandInJudge,
    consistency,
    coverage,
    draw_reference,
    judge_pairs,
    judge_prompt,
    read_choice,
)
from gift_dsl.evaluate.own import _grade_judged
from gift_dsl.evaluate.subject import Answer
from gift_dsl.players.chat import ChatSettings
from gift_dsl.players.network import Network
from gift_dsl.players.openai import Endpoint, OpenAIPlayer
from gift_dsl.players.usage import Budget
from gift_dsl.seat import PlayerFault
from tests.evaluate.words import Saying, solve, write_rows
from tests.players.server import FaultServer

CONCEPTS = ("dog_N", "run_V")
PAIRS = [Pair(str(n), CONCEPTS, f"The dog runs {n}.", "A dog is running.") for n in range(40)]


@dataclass
class Talker:
    """A chat that says what `reply(prompt, attempt)` says."""

    reply: object
    name: str = "talker"
    waits: bool = True
    heard: list = field(default_factory=list)

    async def act(self, turn, rng):
        prompt = turn.messages[-1].content
        attempt = self.heard.count(prompt)
        self.heard.append(prompt)
        said = self.reply(prompt, attempt)
        if said is None:
            raise PlayerFault(self.name, "no answer")
        return said


def judge(player, pairs=PAIRS, order="both", cache=None, seed=1):
    return asyncio.run(judge_pairs(ModelJudge(player, seed, cache), pairs, order=order, seed=seed))


def fair(prompt, _attempt):
    """Prefers the model's sentence wherever it stands."""
    return "A" if prompt.index("The dog runs") < prompt.index("A dog is") else "B"


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("A", "A"),
        (" B.", "B"),
        ("tie", "tie"),
        ("Tie", "tie"),
        ("TIE!", None),
        ("**A**", "A"),
        ('"B"', "B"),
        ("(A)", "A"),
        ("Model B", "B"),
        ("B - A simpler sentence", "B"),
        ("B. All concepts are used.", "B"),
        ("A.\nIt is shorter than B.", "A"),
        ("Answer: B", "B"),
        ("My choice: B. All concepts are there.", "B"),
        ("Both are fine.\n\n**Verdict:** tie", "tie"),
        ("It is a tie.", "tie"),
        ("A is better than B", "A"),
        ("A better sentence is B", None),
        ("Answer: A better one", None),
        ("Both A and B are fine", None),
        ("Answer: A. No, answer: B.", None),
        ("neither", None),
        ("C", None),
        ("I like dogs", None),
        ("", None),
    ],
)
def test_a_reply_is_a_verdict_only_where_it_is_clear(reply, choice):
    assert read_choice(reply) == choice


def test_who_is_better_wins_wherever_it_stands():
    judged = judge(Talker(fair))
    assert {one.verdicts for one in judged} == {("win", "win")}
    assert [one.score for one in judged] == [1.0] * len(PAIRS)
    assert consistency(judged) == 1.0


def test_a_judge_that_likes_a_place_gets_half_a_point_in_both_orders_and_is_caught():
    judged = judge(Talker(lambda prompt, attempt: "A"))
    assert [one.score for one in judged] == [0.5] * len(PAIRS)
    assert consistency(judged) == 0.0


def test_in_one_random_order_the_place_is_drawn_and_nothing_is_said_about_consistency():
    player = Talker(lambda prompt, attempt: "A")
    judged = judge(player, order="random")
    assert len(player.heard) == len(PAIRS)
    assert 8 <= sum(one.score for one in judged) <= 32
    assert consistency(judged) is None
    assert [one.places for one in judged] == [one.places for one in judge(player, order="random")]
    assert [one.places[:1] for one in judge(Talker(fair))] == [one.places for one in judged]


def test_a_tie_counts_for_the_model():
    assert judge(Talker(lambda prompt, attempt: "tie"))[0] == Judged(("tie", "tie"), ("tie", "tie"), ("A", "B"))
    assert judge(Talker(lambda prompt, attempt: "tie"))[0].score == 1.0


def test_the_judge_sees_concepts_and_sentences_and_not_who_wrote_them():
    prompt = judge_prompt(CONCEPTS, "First one.", "Second one.")
    assert "Concepts: dog (noun), run (verb)" in prompt
    assert prompt.index("A: First one.") < prompt.index("B: Second one.")
    assert "human" not in prompt.lower()


def test_nonsense_is_asked_for_again_at_most_three_times():
    player = Talker(lambda prompt, attempt: "hm" if attempt < 2 else fair(prompt, attempt))
    assert judge(player)[0].score == 1.0
    assert len(player.heard) == 3 * 2 * len(PAIRS)


def test_a_pair_without_a_verdict_has_no_score():
    silent = "The dog runs 3."
    player = Talker(lambda prompt, attempt: "hm" if silent in prompt else fair(prompt, attempt))
    judged = judge(player)
    assert [one.score for one in judged].count(None) == 1
    assert judged[3].verdicts == (None, None)
    assert player.heard.count(player.heard[0]) >= 1
    assert sum(silent in prompt for prompt in player.heard) == 6


def test_a_judge_that_says_nothing_readable_ends_the_evaluation_early_with_its_words():
    player = Talker(lambda prompt, attempt: "As a language model I")
    with pytest.raises(GiftError, match=r"`talker` gave no verdict in \d+ of 400 .* expected `A`, `B` or `tie`, found"):
        judge(player, PAIRS * 5)
    assert len(player.heard) < 400 * 3


def test_what_a_judge_said_before_it_failed_is_kept(tmp_path):
    def reply(prompt, attempt):
        return fair(prompt, attempt) if "The dog runs 1." in prompt else "hm"

    with pytest.raises(GiftError):
        judge(Talker(reply), PAIRS[1:2] + PAIRS, cache=ReplyCache(tmp_path / "replies.jsonl"))
    again = Talker(fair)
    judge(again, PAIRS[1:2], cache=ReplyCache(tmp_path / "replies.jsonl"))
    assert again.heard == []


def test_an_endpoint_that_fails_is_no_verdict():
    player = Talker(lambda prompt, attempt: None if "The dog runs 3." in prompt else fair(prompt, attempt))
    assert judge(player)[3].verdicts == (None, None)


def test_nobody_pays_twice_for_one_judge_and_prompt(tmp_path):
    path = tmp_path / "replies.jsonl"
    first = Talker(fair)
    judged = judge(first, cache=ReplyCache(path))
    with path.open("a") as file:
        file.write('{"key": "cut by a cra')
    again = Talker(fair)
    assert judge(again, cache=ReplyCache(path)) == judged
    assert again.heard == []
    other = Talker(fair, name="another judge")
    judge(other, cache=ReplyCache(path))
    assert len(other.heard) == 80
    third = Talker(fair, name="another judge")
    judge(third, cache=ReplyCache(path))
    assert third.heard == []


def test_a_kept_reply_may_hold_what_unicode_calls_the_end_of_a_line(tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text(
        json.dumps({"key": "k", "reply": "A\u2028\u2029\u0085B"}, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    assert ReplyCache(path).get("k") == "A\u2028\u2029\u0085B"


def test_the_sampling_of_a_judge_belongs_to_its_name_in_the_cache(tmp_path):
    async def main():
        async with FaultServer(reply=lambda body: "tie") as server, Network() as network:
            for temperature in (0.0, 0.7, 0.0):
                chat = ChatSettings("judge-1", temperature, 1.0, 8)
                player = OpenAIPlayer("j", chat, Endpoint(server.url), network, Budget())
                judge = ModelJudge(player, 1, ReplyCache(tmp_path / "replies.jsonl"))
                await judge_pairs(judge, PAIRS, order="both", seed=1)
            return len(server.asked), server.most_busy, judge.name

    asked, most_busy, name = asyncio.run(main())
    assert asked == 2 * 80
    assert most_busy > 8
    assert name == "judge-1"


def test_a_reference_is_drawn_once_for_an_item():
    texts = [draw_reference(("x", "y", "z"), 1, str(n)) for n in range(60)]
    assert texts == [draw_reference(("x", "y", "z"), 1, str(n)) for n in range(60)]
    assert set(texts) == {"x", "y", "z"}


def test_the_stand_in_prefers_what_covers_more_and_then_what_is_shorter():
    def say(first, second):
        return asyncio.run(StandInJudge().compare(CONCEPTS, first, second, "k"))[1]

    assert say("The dog runs.", "The dog sleeps.") == "A"
    assert say("The dog runs about the park.", "The dog runs.") == "B"
    assert say("The dog runs.", "Dogs are running.") == "tie"
    assert not StandInJudge.is_model


def test_concepts_are_found_in_other_forms():
    assert coverage(("use_V", "dog_N", "run_V"), "Using dogs, he went.") == 2
    assert coverage(("run_V", "carry_V", "bare"), "She carries on running, us two.") == 2


def test_both_scorings_read_one_reply_each_in_its_way(tmp_path):
    rows = write_rows(tmp_path)
    player = Talker(lambda prompt, attempt: "B - A simpler sentence")
    request = BenchmarksRequest(
        ({"type": "commongen", "judge": "j", "data_dir": "commongen"},),
        seed=1,
        folder=rows,
        judges={"j": player},
        scorings=("none", "gift_v1"),
        output=tmp_path / "out",
    )
    result = asyncio.run(evaluate_benchmarks(Saying(solve), request))
    samples = [json.loads(line) for line in (tmp_path / "out" / "samples_commongen.jsonl").read_text().splitlines()]
    ours = [one["filtered_resps"][0]["score"] for one in samples if one["filter"] == "none"]
    theirs = [one["filtered_resps"][0]["score"] for one in samples if one["filter"] == "gift_v1"]
    assert ours == [0.5, 0.5, 0.5]
    assert set(theirs) <= {0.0, 1.0}
    assert len(player.heard) == 6
    assert result.more["commongen"] == {"judge": "talker", "consistency": 0.0}
    assert result.counts["commongen"]["none"] == {"split": 3, "truncated": 0}


def test_words_about_a_failure_of_the_judge_are_not_its_own(tmp_path):
    def reply(prompt, attempt):
        return None if "The dog runs 3." in prompt else "B, I think"

    class Refused(Talker):
        async def act(self, turn, rng):
            try:
                return await super().act(turn, rng)
            except PlayerFault:
                raise PlayerFault(self.name, "HTTP 400: Bad Request: A") from None

    one = judge(Refused(reply))[3]
    assert "Bad Request: A" in one.replies[0], "a text in which the paper's script would read an A"
    assert (one.gift_v1_verdict, one.score) == (None, None)
    graded = {name: _grade_judged(Answer("x"), one, "x", name) for name in ("none", "gift_v1")}
    assert {(found["outcome"], found["score"]) for found in graded.values()} == {("unjudged", None)}


def test_an_unreadable_reply_has_no_score_in_ours_and_loses_in_the_papers():
    one = Judged((None, None), ("neither of them", "neither"), ("A", "B"))
    assert _grade_judged(Answer("x"), one, "x", "none")["outcome"] == "unjudged"
    found = _grade_judged(Answer("x"), one, "x", "gift_v1")
    assert (found["outcome"], found["score"]) == ("lose", 0.0)


def test_a_sentence_in_no_answer_element_loses_without_being_judged(tmp_path):
    player = Talker(fair)
    request = BenchmarksRequest(
        ({"type": "commongen", "judge": "j", "data_dir": "commongen"},),
        seed=1,
        folder=write_rows(tmp_path),
        judges={"j": player},
    )
    result = asyncio.run(evaluate_benchmarks(Saying(lambda text: "A dog runs."), request))
    assert result.results["commongen"]["win_tie,none"] == 0.0
    assert result.counts["commongen"]["none"] == {"bad_format": 3, "truncated": 0}
    assert player.heard == []
