"""The shipped word pairs: what is promised about them in games/data/README.md."""

from __future__ import annotations

import math
from collections import Counter

from gift_dsl.games.free_text import contains_word, fold
from gift_dsl.games.splits import split_of
from gift_dsl.games.spy import SpyParams
from gift_dsl.games.spy_pairs import CluedPair, load_pairs, pair_keys
from gift_dsl.games.spy_rules import SpyGame
from gift_dsl.rng import stream
from gift_dsl.settings import shipped


def all_clues(pair: CluedPair) -> tuple[str, ...]:
    return (*pair.shared, *pair.first_clues, *pair.second_clues)


def kinds_of_clues(pair: CluedPair) -> tuple[tuple[str, ...], ...]:
    return pair.shared, pair.first_clues, pair.second_clues


def test_there_are_at_least_400_pairs_in_20_categories_of_at_least_20():
    sizes = Counter(pair.category for pair in load_pairs())
    assert len(load_pairs()) >= 400
    assert len(sizes) == 20
    assert min(sizes.values()) >= 20


def test_each_closeness_from_1_to_3_has_at_least_50_pairs():
    sizes = Counter(pair.closeness for pair in load_pairs())
    assert set(sizes) == {1, 2, 3}
    assert min(sizes.values()) >= 50


def test_no_word_stands_in_two_pairs_not_even_as_part_of_a_phrase():
    parts = Counter(part for pair in load_pairs() for part in {*fold(pair.first).split(), *fold(pair.second).split()})
    assert [part for part, count in parts.items() if count > 1] == []


def test_saying_one_word_of_a_pair_does_not_say_the_other():
    words = [word for pair in load_pairs() for word in ((pair.first, pair.second), (pair.second, pair.first))]
    assert [(first, second) for first, second in words if contains_word(first, second)] == []


def test_a_pair_has_nine_different_clues_three_of_each_kind():
    for pair in load_pairs():
        assert [len(kind) for kind in kinds_of_clues(pair)] == [3, 3, 3], pair
        assert len({fold(clue) for clue in all_clues(pair)}) == 9, pair


def test_no_clue_says_a_word_of_its_pair_or_is_longer_than_the_shortest_limit():
    clues = [(clue, word) for pair in load_pairs() for clue in all_clues(pair) for word in (pair.first, pair.second)]
    assert [(clue, word) for clue, word in clues if contains_word(clue, word) or len(clue) > 40] == []


def test_no_clue_is_understood_as_one_of_another_kind():
    for pair in load_pairs():
        kinds = [[f" {fold(clue)} " for clue in kind] for kind in kinds_of_clues(pair)]
        for kind in kinds:
            others = [clue for other in kinds if other is not kind for clue in other]
            assert [clue for clue in kind for other in others if clue in other] == [], pair


def test_words_and_clues_are_plain_lower_case_text():
    texts = [text for pair in load_pairs() for text in (pair.first, pair.second, *all_clues(pair))]
    assert [text for text in texts if text != text.strip().lower() or not text.isascii()] == []


def test_no_word_is_in_two_splits_and_every_split_has_pairs():
    keys = pair_keys([(pair.first, pair.second) for pair in load_pairs()])
    assert all(keys[fold(pair.first)] == keys[fold(pair.second)] for pair in load_pairs())
    assert len(set(keys.values())) == len(load_pairs())
    sizes = Counter(split_of(key) for key in set(keys.values()))
    assert min(sizes[split] for split in ("train", "dev", "test")) >= 30


def test_the_data_says_where_it_comes_from():
    text = (shipped("games") / "data" / "README.md").read_text(encoding="utf-8")
    assert "written for this project" in text
    assert "Apache-2.0" in text


# A guesser that sees only its own word


def features(word: str) -> list[str]:
    """The words and the letter trigrams of a secret word."""
    padded = f"^{word}$"
    return [*word.split(), *(padded[begin : begin + 3] for begin in range(len(padded) - 2))]


def draw_words(split: str, num_games: int) -> list[tuple[str, bool]]:
    """(a word, whether it is the spy's) of games of one split; each role half of the time."""
    game, drawn, index = SpyGame(SpyParams()), list[tuple[str, bool]](), 0
    while len(drawn) < num_games:
        rng = stream(0, "guess", split, index)
        state, of_spy, index = game.start(rng), rng.random() < 0.5, index + 1
        if split_of(game.instance_key(state)) == split:
            seat = state.spy if of_spy else (state.spy + 1) % len(state.words)
            drawn.append((state.words[seat], of_spy))
    return drawn


def fit(games: list[tuple[str, bool]]) -> dict[str, float]:
    """Naive Bayes: for each feature the log odds, with one added to each count, that a word with it is the spy's."""
    counts = {
        role: Counter(part for word, of_spy in games if of_spy == role for part in features(word))
        for role in (True, False)
    }
    return {
        part: math.log((counts[True][part] + 1) / (counts[False][part] + 1)) for part in counts[True] | counts[False]
    }


def test_a_bag_of_words_guesser_that_sees_only_its_own_word_is_at_chance_on_test_words():
    log_odds, test = fit(draw_words("train", 4000)), draw_words("test", 2000)
    num_right = sum((sum(log_odds.get(part, 0.0) for part in features(word)) > 0) == of_spy for word, of_spy in test)
    half = 1.96 * math.sqrt(0.25 / len(test))
    low, high = num_right / len(test) - half, num_right / len(test) + half
    assert low < 0.5 < high, f"right in {num_right} of {len(test)} games, interval {low:.3f} to {high:.3f}"


def test_the_same_guesser_sees_a_fixed_order_of_the_words_at_once():
    """The guesser is not blind: with the roles of one fixed order it is nearly always right on words it has met."""
    first = {pair.first for pair in load_pairs()}
    games = [(word, word in first) for word, _role in draw_words("train", 4000)]
    log_odds = fit(games)
    right = sum((sum(log_odds.get(part, 0.0) for part in features(word)) > 0) == of_spy for word, of_spy in games)
    assert right / len(games) > 0.9
