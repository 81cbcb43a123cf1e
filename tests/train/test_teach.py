"""Scripted play: the layout of a policy's own play, its mix of skills, packed episodes, and what `where` keeps."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import pytest

from gift_dsl.engines.load import load_codec
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.errors import GiftError
from gift_dsl.games.splits import split_of
from gift_dsl.plan import leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.seats import Table, model_player
from gift_dsl.play.table import play_groups
from gift_dsl.seat import Completion
from gift_dsl.train.rows_sft import Wanted, make_wanted, taught_play, taught_rows
from gift_dsl.train.teach import Lessons, scripted_play
from gift_dsl.train.teacher import make_scribe
from tests.play.scripted import CODEC as CHATML
from tests.train.lesson_plans import games_of, plan_of, players_of

CHAIN = {"play": "chain", "fields": "{batch_size: 16}"}


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    plan = plan_of(play="chain")
    return load_codec(plan.model, str(build_tiny(plan, tmp_path_factory.mktemp("teach"))))


def lessons_of(codec, **changes):
    plan = plan_of(**{**CHAIN, **changes})
    return Lessons(plan.seed, plan.stages[0], games_of(plan), players_of(plan), codec)


def played(codec, scripted, **changes):
    lessons = lessons_of(codec, data=f"{{scripted: {scripted}}}", **changes)
    return [trajectory for _, trajectory in scripted_play(lessons)]


def outcomes(trajectories):
    found = defaultdict(Counter)
    for part in (part for one in trajectories for part in one.parts):
        found[part.game][part.outcome] += 1
    return found


def share(trajectories, game, outcome="success"):
    counts = outcomes(trajectories)[game]
    return counts[outcome] / counts.total()


# ── layout ──


@dataclass
class Repeats:
    """A policy that says what was said before in the same context."""

    codec: object
    said: dict

    async def complete(self, requests):
        return [
            Completion(self.said[request.context], (0.0,) * len(self.said[request.context]), "stop")
            for request in requests
        ]


def said_in(trajectory):
    """Context before each turn to the ids of the turn."""
    found = {}
    for row in trajectory.sequences:
        for start, end in spans(row.turns):
            found[(*row.prompt_ids, *row.completion_ids[:start])] = row.completion_ids[start:end]
    return found


def spans(turns):
    numbers = [number for number in dict.fromkeys(turns) if number >= 0]
    return [(turns.index(number), turns.index(number) + turns.count(number)) for number in numbers]


@pytest.mark.parametrize("words", ["tiny", "chatml"])
@pytest.mark.parametrize("context", ["shared", "fresh"])
def test_scripted_play_is_byte_equal_to_a_policy_that_says_the_same(codec, words, context):
    lessons = lessons_of(
        codec if words == "tiny" else CHATML,
        chain=f"], context: {context}",
        data="{scripted: {episodes: 12, illegal: 0.1}}",
        max_tokens=40,
    )
    keys = lessons.keys(0)
    walks = plan_walks(lessons.stage.play, keys, range(12))
    taught = [trajectory for _, trajectory in scripted_play(lessons)]
    for walk, scripted in zip(walks, taught, strict=True):
        policy = model_player("policy", Repeats(lessons.codec, said_in(scripted)))
        table = Table(lessons.games, policy, lessons.players, lessons.stage.system_prompt)
        (group,) = asyncio.run(play_groups(table, keys, [walk], 1))
        assert group.trajectories == (scripted,)


def test_the_mask_covers_exactly_the_answers_and_their_ends(codec):
    for trajectory in played(codec, "{episodes: 12, pack: 0.5}"):
        (row,) = trajectory.sequences
        learned = [row.completion_ids[start:end] for start, end in spans(row.turns)]
        assert sum(map(len, learned)) == sum(row.mask)
        turns = [turn for turn in trajectory.turns if turn.player == "policy"]
        assert [codec.decode(ids) for ids in learned] == [turn.text for turn in turns]
        assert all(ids[-1] in codec.end_of_turn_ids for ids in learned)
        assert all(not any(codec.decode([token]) == "" for token in ids[:-1]) for ids in learned)


def test_a_template_that_rewrites_history_gives_a_row_for_each_turn(codec):
    """`make_scribe` knows how to end a turn where the template cannot be appended to."""

    class Numbered:
        """Before a turn it says how many messages there were."""

        end_of_turn_ids = CHATML.end_of_turn_ids
        encode, decode = staticmethod(CHATML.encode), staticmethod(CHATML.decode)

        def render(self, messages, *, open_turn):
            shown = CHATML.render(messages, open_turn=open_turn)
            return (*shown, *CHATML.encode(f"after {len(messages)} ")) if open_turn else shown

    trajectories = played(Numbered(), "{episodes: 4}", play="ttt", max_tokens=40)
    for trajectory in trajectories:
        own = [turn for turn in trajectory.turns if turn.player == "policy"]
        assert len(trajectory.sequences) == len(own)
        assert all(row.completion_ids[-1] == CHATML.END for row in trajectory.sequences)


# ── who plays ──


def test_a_perfect_teacher_never_loses_where_the_game_lets_it(codec):
    trajectories = played(codec, "{episodes: 48, skill: [1, 1], illegal: 0}")
    assert share(trajectories, "sum") == 1
    assert share(trajectories, "matrix") == 1
    assert outcomes(trajectories)["ttt"].keys() <= {"success", "draw"}
    assert share(trajectories, "ttt") > 0.8
    assert share(trajectories, "spy") > 0.5


def test_a_random_teacher_plays_legally_and_badly(codec):
    trajectories = played(codec, "{episodes: 64, skill: [0, 0], illegal: 0}")
    assert {part.outcome for one in trajectories for part in one.parts} <= {"success", "draw", "loss"}
    assert share(trajectories, "sum") < 0.35
    assert share(trajectories, "matrix") < 0.7
    assert share(trajectories, "ttt", "loss") > 0.15


def test_moves_are_illegal_on_purpose_as_often_as_the_spec_says(codec):
    trajectories = played(codec, "{episodes: 160, illegal: 0.25}")
    ends = [turn.end for one in trajectories for turn in one.turns if turn.player == "policy"]
    assert sum(end != "action" for end in ends) / len(ends) == pytest.approx(0.25, abs=0.06)
    assert set(ends) == {"action", "illegal_action", "bad_format"}
    cells = [turn.action or turn.text for one in trajectories for turn in one.turns if turn.end == "illegal_action"]
    assert any("lamp" in text or "candle" in text for text in cells)  # the own secret word is forbidden


def test_each_episode_draws_its_skill_from_the_range(codec):
    def right(low, high):
        return share(played(codec, f"{{episodes: 96, skill: [{low}, {high}], illegal: 0}}", play="sum"), "sum")

    assert right(0, 0.5) < right(0.5, 1) < right(1, 1)


def test_losing_episodes_are_kept(codec):
    lessons = lessons_of(codec, data="{scripted: {episodes: 32}}")
    taught = list(taught_play(scripted_play(lessons), Wanted()))
    assert len(taught) == 32
    assert share([one for _, one in scripted_play(lessons)], "sum", "loss") > 0


def test_instances_are_of_the_train_split(codec):
    lessons = lessons_of(codec, data="{scripted: {episodes: 64}}")
    held_out = {leaf.game for leaf in leaves(lessons.stage.play) if lessons.games[leaf.game].plan.held_out}
    assert "matrix" in held_out or "sum" in held_out
    parts = [part for _, one in scripted_play(lessons) for part in one.parts if part.game in held_out]
    assert {split_of(part.instance) for part in parts} == {"train"}


def test_play_depends_on_seed_stage_and_episode_alone(codec):
    first = played(codec, "{episodes: 20}")
    assert played(codec, "{episodes: 36}")[:20] == first
    assert played(codec, "{episodes: 20}", seed=2) != first


# ── packing ──


def test_packed_episodes_repeat_one_game_and_the_others_play_the_composition(codec):
    trajectories = played(codec, "{episodes: 96, pack: 0.5}")
    packed = [one for one in trajectories if len({part.game for part in one.parts}) == 1]
    assert len(packed) / len(trajectories) == pytest.approx(0.5, abs=0.15)
    rest = [one for one in trajectories if one not in packed]
    assert all([part.game for part in one.parts] == ["sum", "matrix", "ttt", "spy"] for one in rest)


def test_the_shorter_a_game_the_more_copies_of_it_are_packed(codec):
    trajectories = played(codec, "{episodes: 64, pack: 1}")
    copies = {one.parts[0].game: len(one.parts) for one in trajectories}
    assert copies.keys() == {"sum", "matrix", "ttt", "spy"}
    assert min(copies.values()) == 1
    assert max(copies, key=copies.get) == "sum"
    assert copies["sum"] > 1
    (row,) = next(one.sequences for one in trajectories if one.parts[0].game == "sum")
    assert sorted(set(row.parts)) == list(range(copies["sum"]))


def test_copies_in_one_context_are_different_instances(codec):
    one = next(one for one in played(codec, "{episodes: 16, pack: 1}") if len(one.parts) > 2)
    assert len({part.instance for part in one.parts}) > 1


def test_weights_say_which_games_are_packed(codec):
    trajectories = played(codec, "{episodes: 96, pack: 1, weights: {ttt: 20, sum: 0.01, matrix: 0.01, spy: 0.01}}")
    games = Counter(one.parts[0].game for one in trajectories)
    assert games["ttt"] > 85


# ── what goes wrong ──


def test_an_answer_that_the_policy_could_not_say_is_refused(codec):
    lessons = lessons_of(codec, data="{scripted: {episodes: 4}}")
    play = lessons.stage.play
    short = tuple(replace(leaf, rollout=replace(leaf.rollout, max_tokens_per_turn=3)) for leaf in leaves(play))
    with pytest.raises(GiftError, match="takes 4 tokens, and `max_tokens_per_turn` is 3"):
        list(scripted_play(replace(lessons, stage=replace(lessons.stage, play=replace(play, parts=short)))))


# ── where ──


def test_of_parts_that_are_not_wanted_nothing_is_learned_and_everything_stays_in_the_context(codec):
    (trajectory,) = played(codec, "{episodes: 1, illegal: 0}")
    (whole,), (ttt,) = taught_rows(trajectory, Wanted()), taught_rows(trajectory, make_wanted({"game": "ttt"}))
    assert ttt.ids == whole.ids
    (row,) = trajectory.sequences
    of_ttt = [int(bit and part == 2) for bit, part in zip(row.mask, row.parts, strict=True)]
    assert ttt.mask == (*(0 for _ in row.prompt_ids), *of_ttt)


def test_where_chooses_by_outcome(codec):
    trajectories = played(codec, "{episodes: 64}", play="sum")
    won = [one for one in trajectories if taught_rows(one, make_wanted({"outcome": "win"}))]
    lost = [one for one in trajectories if taught_rows(one, make_wanted({"outcome": ["loss", "draw"]}))]
    assert {part.outcome for one in won for part in one.parts} == {"success"}
    assert len(won) + len(lost) == 64
    assert all(taught_rows(one, make_wanted({"outcome": "any"})) for one in trajectories)


def test_where_chooses_by_step(codec):
    lessons = lessons_of(codec, data="{scripted: {episodes: 40}}", play="sum")
    assert len(list(taught_play(scripted_play(lessons), make_wanted({"steps": [1, 2]})))) == 24


# ── the scribe ──


def test_a_written_turn_is_the_text_and_the_end_of_the_turn(codec):
    completion = make_scribe(codec).write("<answer>5</answer>")
    assert codec.decode(completion.ids) == "<answer> 5 </answer>"
    assert completion.ids[-1] in codec.end_of_turn_ids
    assert completion.finish_reason == "stop"
