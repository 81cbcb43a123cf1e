"""What a spec can name: game types, opponents, benchmarks, presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from types import MappingProxyType
from typing import Any, Final, Literal

from gift_dsl.errors import UsageError
from gift_dsl.games.families import FAMILIES, plugin_families
from gift_dsl.games.game import Family, GameFacts
from gift_dsl.games.params import make_params
from gift_dsl.settings import shipped
from gift_dsl.spec.derive import params_model
from gift_dsl.spec.forms import FieldDoc, fields_of
from gift_dsl.spec.inline import shipped_games
from gift_dsl.spec.models.algorithm import PRESETS
from gift_dsl.spec.models.opponents import OPPONENT_TYPES, PREDEFINED
from gift_dsl.spec.source import parse_yaml
from gift_dsl.spec.starters import starters
from gift_dsl.spec.suggest import did_you_mean

PRESET_NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "gift": "The default: starpo_s whose groups compete for being kept within each task, not across tasks.",
        "gift_v1": "The values of the GIFT paper and its code: StarPO-S over all tasks, a quarter of the groups kept.",
        "starpo_s": "gift_v1 that never keeps a group whose returns are all equal.",
        "dapo": "Token-level loss, dynamic sampling, every group kept, no entropy bonus (arXiv 2503.14476).",
        "dr_grpo": "Loss over a constant length, no division by the std, every group kept (arXiv 2503.20783).",
    }
)

BENCHMARK_NOTES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "math500": "Competition mathematics, answers compared by math-verify; zero-shot, in an `<answer>` tag.",
        "mmlu": "Multiple choice over 57 school and university subjects; zero-shot, in an `<answer>` tag.",
        "mmlu_pro": "Harder multiple choice with up to ten options; zero-shot, in an `<answer>` tag.",
        "social_iqa": "Multiple choice about motives and reactions of people; zero-shot, in an `<answer>` tag.",
        "commongen": "A text that uses given concepts, compared with a human's by a judge; needs `judge`.",
        "lm_eval": "Any task of lm-evaluation-harness under its own protocol; needs `task`.",
    }
)

OTHER_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "eval": "evaluation",
        "lr": "learning_rate",
        "matrix": "matrix_games",
        "mixed": "any_of",
        "nested": "all_of",
        "spy": "whos_the_spy",
        "ttt": "tictactoe",
        "undercover": "whos_the_spy",
    }
)
"""What people and the paper call things, and what the language calls them."""

FILE_KEYS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "extends": "A path or a list of paths, relative to this file and inside the project. Bases are merged from "
        "left to right, this file last.",
        "fragment": "`true` says that the file is a base for others: `gift validate` then asks for nothing that is "
        "missing.",
        "vars": "Values by name. A text that is only `${vars.NAME}` takes the value with its type; inside other text "
        "it is written out. `$$` is a dollar sign. Variables do not refer to variables.",
        "sweep": "Several runs: `axes`, `exclude`, `add`. An axis is a path with a list of values, or with a map that "
        "names them; the runs are all combinations, without those that `exclude` matches, then those that `add` lists.",
        "x-...": "Ignored: a place for YAML anchors.",
    }
)
"""Keys of how files become a spec; the models have none of them."""


@dataclass(frozen=True, slots=True)
class GameType:
    """What `type` of a game may say.

    Attributes:
        name: the type.
        family: whose parameters it has.
        values: what its game file sets; empty for a family itself.
        description: a sentence.
        origin: where it comes from.
    """

    name: str
    family: Family
    values: Mapping[str, Any]
    description: str
    origin: Literal["family", "shipped", "plugin"]

    @property
    def params(self) -> Mapping[str, FieldDoc]:
        """The family's parameters, with what the game file sets as defaults."""
        found = fields_of(params_model(self.family.params))
        return {name: _with_value(item, self.values) for name, item in found.items()}

    def facts(self) -> GameFacts | None:
        """What follows from the parameters as they are by default; None where some of them must be given first."""
        if any(item.required for item in self.params.values()):
            return None
        own = {name: value for name, value in self.values.items() if name in self.params}
        return self.family.facts(make_params(self.family.params, own))


def _with_value(item: FieldDoc, values: Mapping[str, Any]) -> FieldDoc:
    if item.name not in values:
        return item
    return FieldDoc(item.name, item.forms, False, values[item.name], item.description, item.hashed)


@lru_cache(maxsize=1)
def all_game_types() -> Mapping[str, GameType]:
    """Every type of game by name: shipped games, then families, then plugins.

    Raises:
        MachineError: an installed plugin does not load.
    """
    found = {name: _shipped_game(name) for name in shipped_games()}
    found |= {name: GameType(name, item, {}, item.description, "family") for name, item in FAMILIES.items()}
    found |= {
        name: GameType(name, item, {}, item.description, "plugin")
        for name, item in plugin_families().items()
        if name not in found
    }
    return MappingProxyType(found)


def _shipped_game(name: str) -> GameType:
    path = shipped("games") / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    tree, _ = parse_yaml(text, f"games/{path.name}")
    assert tree is not None  # what ships is tested
    values: dict[str, Any] = tree.plain()
    return GameType(name, FAMILIES[values.pop("type")], values, first_comment(text), "shipped")


def first_comment(text: str) -> str:
    """What the comment at the head of a shipped file says, the line for editors left out."""
    head = takewhile(lambda line: line.startswith("#"), text.splitlines())
    told = (line for line in head if not line.startswith("# yaml-language-server:"))
    return " ".join(line.removeprefix("#").strip() for line in told)


def summary(doc: str | None) -> str:
    """The first sentence of a docstring, on one line."""
    return " ".join((doc or "").split("\n\n")[0].split())


def list_games() -> list[dict[str, Any]]:
    """Shipped games, families and plugins, each with its facts by default."""
    return [
        {
            "name": game.name,
            "description": game.description,
            "family": game.family.name,
            "origin": game.origin,
            **facts_json(game.facts()),
        }
        for game in all_game_types().values()
    ]


def facts_json(facts: GameFacts | None) -> dict[str, Any]:
    """The facts of a game that its players ask for; only nulls where parameters decide them."""
    if facts is None:
        return dict.fromkeys(("seats", "max_turns", "can_draw", "graded", "abilities"))
    return {
        "seats": facts.seats,
        "max_turns": list(facts.max_turns),
        "can_draw": facts.can_draw,
        "graded": facts.graded,
        "abilities": list(facts.abilities),
    }


def list_opponents() -> list[dict[str, Any]]:
    """Types of opponents; those that need no field may be named without being defined."""
    return [
        {"name": name, "description": summary(model.__doc__), "predefined": name in PREDEFINED}
        for name, model in OPPONENT_TYPES.items()
    ]


def list_things(what: str) -> list[dict[str, Any]]:
    """What a spec can name, each with `name` and `description` and what else is known of it.

    Raises:
        UsageError: there is no such list.
    """
    if what == "games":
        return list_games()
    if what == "opponents":
        return list_opponents()
    if what == "benchmarks":
        return _rows(BENCHMARK_NOTES.items())
    if what == "presets":
        return _rows((name, PRESET_NOTES[name]) for name in PRESETS)
    if what == "starters":
        return _rows((name, first_comment(path.read_text(encoding="utf-8"))) for name, path in starters().items())
    known = ("games", "opponents", "benchmarks", "presets", "starters")
    raise UsageError(f"there is no list of `{what}`; {did_you_mean(what, known)}")


def _rows(pairs: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    return [{"name": name, "description": text} for name, text in pairs]


def list_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of `list_things` for a terminal: name, description, and what a reader chooses by."""
    width = max((len(row["name"]) for row in rows), default=0)
    return "".join(f"{row['name']:<{width}}  {row['description']}{_note(row)}\n" for row in rows)


def _note(row: Mapping[str, Any]) -> str:
    if "origin" in row:
        seats = "seats by its parameters" if row["seats"] is None else f"{row['seats']} seat{'s' * (row['seats'] > 1)}"
        return f" [{'; '.join([row['origin'], seats, *([', '.join(row['abilities'])] if row['abilities'] else [])])}]"
    return " [needs no definition]" if row.get("predefined") else ""
