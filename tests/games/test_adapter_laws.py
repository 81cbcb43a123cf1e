"""The tables of kept and broken laws are what is found, and what is broken is found."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from gift_dsl.api import check_spec
from gift_dsl.games import adapter_laws
from gift_dsl.games.adapter_laws import NAMED, LawRow, NamedGame, law_table, play_digests, table_text, with_tables
from gift_dsl.games.families import FAMILIES
from gift_dsl.games.game import Family, GameFacts
from gift_dsl.spec.models.games import GameSpec

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"
SPEC = """\
gift: 1
name: adapters
model: {{source: tiny}}
precision: fp32
opponents:
  rival: {{type: openai, base_url: "http://localhost:8000/v1", model: Qwen/Qwen3-14B}}
rollout: {{max_tokens_per_turn: 16}}
{games}
stages:
  - {{name: main, type: grpo, play: {{all_of: [{names}]}}, until: {{steps: 10}}}}
"""


@pytest.mark.slow
def test_the_page_says_what_is_found(golden):
    pytest.importorskip("textarena", reason="the extra `textarena` is not installed")
    pytest.importorskip("pyspiel", reason="the extra `open_spiel` is not installed")
    golden(PAGE, with_tables(PAGE.read_text(encoding="utf-8")))


def test_the_page_has_a_row_for_each_named_game():
    page = PAGE.read_text(encoding="utf-8")
    assert len(NAMED["textarena"]) >= 8
    for family, games in NAMED.items():
        table = page.partition(f"<!-- laws: {family} -->\n")[2].partition("<!-- end -->")[0]
        assert [row.split("`")[1] for row in table.splitlines()[2:]] == [game.name for game in games]


def test_the_games_of_the_page_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names = re.findall(r"^  (\w+):", block, re.MULTILINE)
        checked = check_spec("-", SPEC.format(games=block, names=", ".join(names)))
        assert [found.message for found in checked.diagnostics if found.severity == "error"] == []


def test_a_row_counts_what_is_kept_and_says_how_the_rest_is_broken():
    row = LawRow("Zug", 2, ("stream", "end"), ("hidden",), (("listed", "any text is a turn"), ("split", "none")))
    assert table_text((row,)).splitlines()[-1] == (
        "| `Zug` | 2 | 2 of 4 | `hidden` | `listed`: any text is a turn<br>`split`: none |"
    )
    assert "| `Zug` | 2 | 1 of 1 | none | none |" in table_text((LawRow("Zug", 2, ("end",), (), ()),))


@dataclass(frozen=True)
class CardState:
    """Two seats; each is shown `shown`, and says its word. Then both are paid `grades`."""

    card: int
    shown: tuple[str, str]
    said: tuple[str, ...] = ()
    grades: tuple[float, float] = (1.0, 0.0)
    tells: bool = False

    @property
    def current_player(self):
        return -1 if self.is_terminal else len(self.said)

    @property
    def is_terminal(self):
        return len(self.said) == 2

    def observation(self, player):
        words = self.said if self.tells or self.is_terminal else ()
        return Shown(" ".join((self.shown[player], *words)))

    def legal_actions(self):
        return () if self.is_terminal else ("high", "low")

    def apply(self, action):
        if action not in self.legal_actions():
            raise ValueError(action)
        return CardState(self.card, self.shown, (*self.said, action), self.grades, self.tells)

    def outcome(self):
        if not self.is_terminal:
            raise ValueError("not over")
        return self.grades


@dataclass(frozen=True)
class Shown:
    text: str


@dataclass(frozen=True)
class CardGame:
    options: Options

    @property
    def facts(self):
        return facts(self.options)

    def start(self, rng: random.Random):
        card = rng.randrange(self.options.cards)
        shown = ("your card", f"card {card}" if self.options.shows_card else "your card")
        return CardState(card, shown, (), self.options.grades, self.options.tells)

    def role(self, state, player):
        return ""

    def instance_key(self, state):
        return f"card {state.card}"


@dataclass(frozen=True)
class Options:
    horizon: int = 20
    cards: int = 5
    shows_card: bool = False
    tells: bool = False
    grades: tuple[float, float] = (1.0, 0.0)


def facts(options):
    return GameFacts(2, (options.horizon,) * 2, graded=True, can_draw=True, zero_sum=False)


def broken(monkeypatch, hidden, **options):
    """What is found about the card game, in this process."""
    family = Family("cards", "Cards.", Options, facts, lambda params, _rows: CardGame(params))
    monkeypatch.setattr(adapter_laws, "get_family", lambda _name: family)
    monkeypatch.setattr(adapter_laws, "NAMED", {"cards": (NamedGame("cards", options, hidden),)})
    monkeypatch.setattr(adapter_laws, "_plays_elsewhere", lambda name, _hash_seed: play_digests(name))
    (row,) = law_table("cards")
    return dict(row.broken)


@pytest.mark.parametrize("hidden", ["nothing", "start", "moves"])
def test_a_game_that_keeps_all_is_found_to_keep_all(monkeypatch, hidden):
    assert broken(monkeypatch, hidden) == {}


@pytest.mark.parametrize(
    ("law", "hidden", "options", "problem"),
    [
        ("unseen", "start", {"shows_card": True}, "what seat 1 is shown gives the instance away"),
        ("unseen", "start", {"cards": 1}, "there is one instance only"),
        ("unseen", "moves", {"tells": True}, "the action of the first shows before the second acts"),
        ("adds up", "nothing", {"grades": (1.0, 0.5)}, "the grades 1, 0.5 were given"),
        ("by itself", "nothing", {"horizon": 0}, "a random play takes 1 turns of a seat, and is cut at 0"),
    ],
)
def test_a_game_that_breaks_a_law_is_found(monkeypatch, law, hidden, options, problem):
    assert broken(monkeypatch, hidden, **options)[law] == problem


def test_a_game_that_another_process_plays_otherwise_is_found(monkeypatch):
    answers = iter([{"cards": "one digest"}, {"cards": "another"}])
    family = Family("cards", "Cards.", Options, facts, lambda params, _rows: CardGame(params))
    monkeypatch.setattr(adapter_laws, "get_family", lambda _name: family)
    monkeypatch.setattr(adapter_laws, "NAMED", {"cards": (NamedGame("cards", {}),)})
    monkeypatch.setattr(adapter_laws, "_plays_elsewhere", lambda _name, _hash_seed: next(answers))
    (row,) = law_table("cards")
    assert row.broken == (("processes", "another process plays another game"),)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_parameter_of_a_family_is_a_key_of_every_game(family):
    """It could not be written: the key of every game would take its value."""
    assert not {field.name for field in fields(FAMILIES[family].params)} & set(GameSpec.model_fields)
