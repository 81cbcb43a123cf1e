# pyright: basic
"""Every word that can occur in the games of a plan: what the `tiny` model's tokenizer is made of.

The games are really played, by players that wander, and every message is heard. What playing may miss is filled in:
all integers of a range, every state of every cell, every clue to every secret word. The result depends on the games,
their wordings and their compositions; neither on the seed nor on the model.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, Final

from tokenizers import Regex, pre_tokenizers

from gift_dsl.games.arithmetic import Problem
from gift_dsl.games.clues import know
from gift_dsl.games.game import FreeText, Rows
from gift_dsl.games.params import make_params
from gift_dsl.games.question import Arithmetic, QuestionParams
from gift_dsl.games.spy import SpyParams, choose_pairs
from gift_dsl.games.spy_rules import SpyObservation
from gift_dsl.plan import GamePlan, InTurn, Leaf, Plan, Play, leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation, Table, TableGame, table_game
from gift_dsl.play.table import play_groups
from gift_dsl.players.clue import CluePlayer
from gift_dsl.seat import Turn

# A tag; a number, with the mark of a cell or a full stop behind it; a word; any other sign.
_PATTERN: Final = r"</?\w+>|-?\d+(?:\.\d+)?[.xo]?(?!\w)|\w+(?:['-]\w+)*|[^\w\s]"
_INTEGER: Final = re.compile(r"-?\d+")
_CELL: Final = re.compile(r"(\d+)([.xo])")
_SEAT: Final = re.compile(r"P(\d+)")
_EPISODES: Final = 100
"""Of each game, in each split, and of each composition."""
_REFUSED: Final = 0.1
"""Share of answers that cannot be read or are illegal, so that what is said about them is heard."""
_ALWAYS: Final = ("OK", "no")
"""Two ends of a turn that differ, by which the table learns what a chat template writes after one."""
_WIDEST: Final = 1000
"""Integers up to here are filled in; larger ones are known where they were heard."""


def splitter() -> pre_tokenizers.PreTokenizer:
    """What cuts a text into words; white space is dropped."""
    return pre_tokenizers.Split(Regex(_PATTERN), behavior="removed", invert=True)


def words_of_plan(plan: Plan, rows: Mapping[str, Rows]) -> tuple[str, ...]:
    """The vocabulary of a plan, sorted.

    Args:
        plan: whose games, wordings and compositions count.
        rows: of the datasets that games draw from, by name of the game.

    Raises:
        GiftError: a game has no instance, or needs rows that are not given.
    """
    games = {game.name: table_game(game, rows.get(game.name, ())) for game in plan.games}
    heard: set[str] = set()
    for game in games.values():
        heard |= _facts_of(game.plan)
        heard |= _heard_in_game(plan, game)
    heard |= {stage.system_prompt for stage in plan.stages}
    for composition in {stage.play for stage in plan.stages}:
        heard |= _heard_in(plan, composition, games)
    split = splitter()
    words = {*_ALWAYS, *(word for text in heard for word, _ in split.pre_tokenize_str(text))}
    return tuple(sorted(words | set(_filled_in(words)), key=_order))


class _Wanderer:
    """Hears everything, acts at random, and sometimes says what is refused."""

    waits = False

    def __init__(self, heard: set[str], games: Mapping[str, GamePlan], refused: float = 0.0) -> None:
        self.name = "wanderer"
        self._heard, self._games, self._refused = heard, games, refused

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """A random action."""
        self._heard.update(message.content for message in turn.messages[-2:] if message.role != "assistant")
        prompt = self._games[turn.game].prompt
        said = await self._say(turn, rng)
        self._heard.add(said)
        if rng.random() < self._refused:
            return rng.choice(("", f"<{turn.tag}>OK</{turn.tag}>"))
        return f"<think></think>{said}" if prompt.think == "required" else said

    async def _say(self, turn: Turn, rng: random.Random) -> str:
        if isinstance(turn.observation, SpyObservation):
            return await CluePlayer(self.name, rng.random(), 1.0).act(turn, rng)
        item: Any = getattr(turn.state, "item", None)  # a question: what is right can be said
        if isinstance(turn.legal, FreeText):
            action = item.gold if item is not None else "hello"
        else:
            action = rng.choice(turn.legal)
        return f"<{turn.tag}>{action}</{turn.tag}>"


def _heard_in_game(plan: Plan, game: TableGame) -> set[str]:
    """Everything that is said when it is played alone, in training and in evaluation."""
    leaf = Leaf(game.plan.name, game.plan.name, ((0, 1.0),), game.plan.max_turns, game.plan.rollout)
    evaluation = Evaluation(plan.evaluation.temperature, plan.evaluation.max_tokens)
    heard: set[str] = set()
    games = {game.plan.name: game}
    for split, tested in (("train", None), ("dev", evaluation), ("test", evaluation)):
        keys = Keys(0, split, "vocabulary", 0)  # pyright: ignore[reportArgumentType]  # one of three texts
        table = _table(plan, games, {leaf.label: game.plan}, heard)
        asyncio.run(play_groups(replace(table, evaluation=tested), keys, plan_walks(leaf, keys, range(_EPISODES)), 1))
    return heard


def _heard_in(plan: Plan, composition: Play, games: Mapping[str, TableGame]) -> set[str]:
    """Everything that is said in a composition: what one part is told about the part before, too."""
    heard: set[str] = set()
    by_label = {leaf.label: games[leaf.game].plan for leaf in leaves(composition)}
    num_steps = sum(composition.blocks) if isinstance(composition, InTurn) else 1
    for step in range(num_steps):
        keys = Keys(0, "train", "vocabulary", step)
        walks = plan_walks(composition, keys, range(max(10, _EPISODES // num_steps)))
        asyncio.run(play_groups(_table(plan, games, by_label, heard), keys, walks, 1))
    return heard


def _table(plan: Plan, games: Mapping[str, TableGame], by_label: Mapping[str, GamePlan], heard: set[str]) -> Table:
    opponent = _Wanderer(heard, by_label)
    players = {player.name: opponent for player in plan.opponents}
    return Table(games, _Wanderer(heard, by_label, _REFUSED), players)


def _facts_of(game: GamePlan) -> set[str]:
    """What the rules may bring up, whether or not it was heard."""
    tags = f"<{game.prompt.tag}> </{game.prompt.tag}>"
    think = {"<think> </think>"} if game.prompt.think == "required" else set[str]()
    if game.family == "whos_the_spy":
        words = [word for pair in choose_pairs(make_params(SpyParams, game.params)) for word in pair]
        return {tags, *think, *words, *(clue for word in words for clue in _clues(word))}
    if game.family == "question":
        generate = make_params(QuestionParams, game.params).generate
        return {tags, *think} if generate is None else {tags, *think, *_extremes(generate)}
    return {tags, *think}


def _clues(word: str) -> Sequence[str]:
    known = know(word)
    return (*known.shared, *known.own, *known.other)


def _extremes(generate: Arithmetic) -> set[str]:
    """The largest and the smallest number of all problems: a value is linear in each operand, so they are at an end."""
    ends = product((generate.low, generate.high), repeat=generate.terms)
    signs = list(product(generate.operators, repeat=generate.terms - 1))
    values = {Problem(operands, operators).value for operands in ends for operators in signs}
    return {str(min(values)), str(max(values)), str(generate.low), str(generate.high)}


def _filled_in(words: Collection[str]) -> Iterator[str]:
    """What belongs to a range of which some was heard."""
    integers = [value for word in words if _INTEGER.fullmatch(word) and abs(value := int(word)) <= _WIDEST]
    yield from (str(value) for value in _range(integers))
    cells = [match for word in words if (match := _CELL.fullmatch(word))]
    marks = sorted({match[2] for match in cells})
    yield from (f"{cell}{mark}" for cell in _up_to(cells) for mark in marks)
    seats = [match for word in words if (match := _SEAT.fullmatch(word))]
    yield from (f"P{seat}" for seat in _up_to(seats))


def _range(integers: Collection[int]) -> Iterable[int]:
    """From the smallest to the largest, rounded outward to tens: playing may have missed the very ends."""
    return range(min(integers) // 10 * 10, -(-max(integers) // 10) * 10 + 1) if integers else ()


def _up_to(matches: Collection[re.Match[str]]) -> Iterable[int]:
    return range(1, max((int(match[1]) for match in matches), default=0) + 1)


def _order(word: str) -> tuple[int, int, str]:
    """Integers by value, then the rest by text."""
    is_integer = _INTEGER.fullmatch(word) is not None
    return (0, int(word), word) if is_integer else (1, 0, word)
