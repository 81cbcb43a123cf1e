"""The built-in model: made from the games of a spec, the same bytes every time."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gift_dsl.api import compile_spec
from gift_dsl.engines.load import make_codec
from gift_dsl.engines.tiny import CHAT_TEMPLATE, END, UNKNOWN, build_tiny, make_tokenizer, number_features
from gift_dsl.engines.vocabulary import splitter, words_of_plan
from gift_dsl.errors import GiftError
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation, Table, table_game
from gift_dsl.play.table import play_groups
from gift_dsl.play.template import AppendOnly, check_append_only
from gift_dsl.players.clue import CluePlayer
from gift_dsl.seat import Message
from tests.play.scripted import RandomPlayer

SPEC = """
gift: 1
name: small
seed: {seed}
model: {{source: tiny, tiny: {{hidden_size: 32, layers: 1, heads: 2, intermediate_size: 32}}}}
games:
{games}
rollout: {{max_tokens_per_turn: 6}}
stages: [{{name: main, type: grpo, play: {play}, until: {{steps: 1}}}}]
"""
SUM = "  sum: {type: arithmetic, generate: {low: 0, high: 6}, prompt: {wording: compact}}"
SPY = (
    "  spy: {type: whos_the_spy, opponents: clue, closeness: [3], categories: [food], prompt: {wording: compact}}\n"
    "  ttt: {type: tictactoe, opponents: random, prompt: {wording: compact}}"
)


def plan_of(games=SUM, play="sum", seed=1):
    (plan,) = compile_spec("small.yaml", SPEC.format(games=games, play=play, seed=seed))
    return plan


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return build_tiny(plan_of(), tmp_path_factory.mktemp("tiny") / "model")


def test_transformers_still_opens_every_tokenizer_beside_a_qwen2_model_as_qwens_own(small, tmp_path):
    """Why the layout is Llama's, docs/adr/0008: when this fails, the page can be thought over.

    Words of several signs: those of one are in its alphabet, too.
    """
    text = "6 + 6 ? <answer> 12 </answer>"
    ours = AutoTokenizer.from_pretrained(small)
    assert ours.decode(ours(text)["input_ids"]) == text
    folder = tmp_path / "qwen2"
    shutil.copytree(small, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen2"}))
    theirs = AutoTokenizer.from_pretrained(folder)
    assert type(theirs).__name__ == "Qwen2Tokenizer"
    assert theirs(text)["input_ids"] != ours(text)["input_ids"]


@pytest.fixture(scope="module")
def tokenizer(small):
    return AutoTokenizer.from_pretrained(small)


def test_two_builds_are_byte_identical(small, tmp_path):
    torch.manual_seed(123)  # whatever the state of the process
    again = build_tiny(plan_of(), tmp_path / "again")
    assert bytes_of(again) == bytes_of(small)
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= bytes_of(small).keys()


def test_a_build_leaves_the_state_of_global_generators_alone(tmp_path):
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    build_tiny(plan_of(), tmp_path / "model")
    assert torch.equal(torch.rand(1), expected)


def test_another_seed_draws_other_weights_for_the_same_words(small, tmp_path):
    other = bytes_of(build_tiny(plan_of(seed=2), tmp_path / "other"))
    ours = bytes_of(small)
    assert {name for name, content in ours.items() if content != other[name]} == {"model.safetensors"}


def test_other_games_have_other_words(tokenizer):
    assert set(tokenizer.get_vocab()) == {
        *("<pad>", "<|end|>", "<unk>", "OK", "no", "<answer>", "</answer>", "NUMBER", "What", "is", "+", "?"),
        *(str(value) for value in range(21)),
    }
    words = set(words_of_plan(plan_of(SPY, "{all_of: [spy, ttt]}"), {}))
    cells = {f"{cell}{mark}" for cell in range(1, 10) for mark in ".xo"}
    assert {"SPY", "me", "VOTE", "P1", "P4", "TICTACTOE", "?", "<answer>"} | cells <= words
    assert {"pancake", "waffle", "syrup", "grid"} <= words  # a pair and its clues
    assert not {"NUMBER", "+", "pizza"} & words  # another game; a pair of another closeness


def test_words_do_not_depend_on_the_seed_of_the_run():
    games, play = SPY, "{all_of: [spy, ttt]}"
    assert words_of_plan(plan_of(games, play, seed=1), {}) == words_of_plan(plan_of(games, play, seed=99), {})


def test_numbers_that_play_never_reached_are_known():
    generate = "{operators: ['-', '*'], low: -3, high: 7, terms: 3}"
    games = f"  sum: {{type: arithmetic, generate: {generate}, prompt: {{wording: compact}}}}"
    words = set(words_of_plan(plan_of(games), {}))
    assert {"-147", "-150", "0", "343", "350"} <= words  # -3 * 7 * 7 and 7 * 7 * 7 are the ends
    assert not {"-151", "351"} & words


def test_all_that_is_said_about_refused_answers_is_known():
    games = (
        "  ttt: {type: tictactoe, opponents: random, prompt: {wording: compact}, illegal_action: {retry: 1}, "
        "show_penalty: true}\n" + SUM
    )
    words = set(words_of_plan(plan_of(games, "{all_of: [ttt, sum], feedback: outcome}"), {}))
    assert {"RETRY", "PENALTY", "-0.1", "You", "succeeded", "allowed", "winner", "."} <= words


def test_the_standard_wordings_have_words_too():
    (plan,) = compile_spec(
        "small.yaml",
        SPEC.format(games="  ttt: {type: tictactoe, opponents: random, answer: {think: required}}", play="ttt", seed=1),
    )
    words = set(words_of_plan(plan, {}))
    assert {"<think>", "</think>", "assistant", "stones", "Legal", "reasoning"} <= words


def test_a_dataset_is_read_from_the_rows_that_are_given():
    rows = [{"question": "Which fruit is yellow?", "answer": "banana"}]
    games = "  fruit: {type: question, kind: text, dataset: {source: ./fruit.jsonl}, prompt: {wording: compact}}"
    plan = plan_of(games, "fruit")
    assert {"Which", "fruit", "yellow", "banana", "TEXT"} <= set(words_of_plan(plan, {"fruit": rows}))
    with pytest.raises(GiftError, match="no questions to draw from"):
        words_of_plan(plan, {})


def test_play_with_another_seed_meets_no_unknown_word():
    plan = plan_of(SPY, "{all_of: [spy, ttt]}")
    tokenizer = make_tokenizer(words_of_plan(plan, {}), 512)
    heard = set()

    class Hearing(CluePlayer):
        reads_messages = True

        async def act(self, turn, rng):
            heard.update(message.content for message in turn.messages)
            if turn.game == "spy":
                return await CluePlayer.act(self, turn, rng)
            return await RandomPlayer().act(turn, rng)

    player = Hearing("clue", 0.5, 0.5)
    games = {game.name: table_game(game) for game in plan.games}
    table = Table(games, player, {"clue": player, "random": player}, evaluation=Evaluation(1.0, 6))
    for split in ("train", "test"):
        keys = Keys(4711, split, "other", 3)
        asyncio.run(play_groups(table, keys, plan_walks(plan.stages[0].play, keys, range(60)), 1))
    unknown = tokenizer.convert_tokens_to_ids(UNKNOWN)
    assert len(heard) > 500
    assert [text for text in heard if unknown in tokenizer(text)["input_ids"]] == []


def test_the_words_of_a_text():
    text = "3 - (-5) * 2.5 <answer>P2</answer> 5. 6x 7o drive-through What? 12th\n1,2"
    assert [word for word, _ in splitter().pre_tokenize_str(text)] == [
        *("3", "-", "(", "-5", ")", "*", "2.5", "<answer>", "P2", "</answer>", "5.", "6x", "7o", "drive-through"),
        *("What", "?", "12th", "1", ",", "2"),
    ]


def test_it_loads_like_any_other_model(small, tokenizer):
    assert tokenizer.chat_template == CHAT_TEMPLATE
    ids = tokenizer("NUMBER What is 3 + 4?\n?<answer>7</answer><|end|>")["input_ids"]
    assert tokenizer.decode(ids) == "NUMBER What is 3 + 4 ? ? <answer> 7 </answer> <|end|>"
    assert tokenizer.decode(ids, skip_special_tokens=True).endswith("<answer> 7 </answer>")
    model = AutoModelForCausalLM.from_pretrained(small)
    assert model(torch.tensor([ids])).logits.shape == (1, len(ids), len(tokenizer))
    assert model.config.tie_word_embeddings
    assert model.config.eos_token_id == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids(END)
    assert model.config.max_position_embeddings == tokenizer.model_max_length == 1024


def test_a_change_of_role_costs_at_most_one_token_and_nothing_is_rewritten(tokenizer):
    codec = make_codec(tokenizer)
    template = check_append_only(codec)
    assert isinstance(template, AppendOnly)
    assert template.rewrites is None
    end = tokenizer.eos_token_id
    assert (template.close, template.end, codec.end_of_turn_ids) == ((end,), (end,), {end})
    message = codec.encode("NUMBER What is 3 + 4?\n?")
    assert template.open([Message("user", "NUMBER What is 3 + 4?\n?")]) == message
    assert template.next_turn("NUMBER What is 3 + 4?\n?") == message


def test_nobody_can_write_the_end_of_a_turn(tokenizer):
    codec = make_codec(tokenizer)
    shown = codec.render([Message("user", "3 <|end|> + 4")], open_turn=True)
    assert tokenizer.eos_token_id not in shown
    assert shown[0], shown[-2:] == codec.encode("3 + 4")


def test_numbers_begin_near_their_neighbours(small, tokenizer):
    embeddings = AutoModelForCausalLM.from_pretrained(small).get_input_embeddings().weight.detach()

    def distance(first, second):
        pair = embeddings[tokenizer.convert_tokens_to_ids([first, second])]
        return float((pair[0] - pair[1]).norm())

    near = sum(distance(str(value), str(value + 1)) for value in range(20)) / 20
    far = sum(distance(str(value), str(value + 15)) for value in range(6)) / 6
    words = distance("What", "is")
    assert near < far
    assert near < 2 * words


def test_the_features_of_a_number():
    features = number_features(15)
    assert features[0] == 0.5
    assert features[1:] == pytest.approx([-1, 0, 1, 0, -1, 0, -1, 0, 0.587785, 0.809017], abs=1e-6)
    assert len(features) <= 16  # the smallest width


def test_a_plan_of_another_model_is_no_tiny_one(tmp_path):
    plan = plan_of()
    with pytest.raises(ValueError, match="not the built-in one"):
        build_tiny(replace(plan, model=replace(plan.model, tiny=None)), tmp_path)
