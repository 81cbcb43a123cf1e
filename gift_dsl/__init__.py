"""gift-dsl: one YAML file describes an experiment that trains a language model by playing games."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gift_dsl.api import Checked, check_spec, compile_spec
    from gift_dsl.errors import Diagnostic, GiftError, SpecError
    from gift_dsl.games.game import Family, FreeText, Game, GameFacts, State

__version__: Final = "0.1.0"
__all__ = [
    "Checked",
    "Diagnostic",
    "Family",
    "FreeText",
    "Game",
    "GameFacts",
    "GiftError",
    "SpecError",
    "State",
    "__version__",
    "check_spec",
    "compile_spec",
]

_HOME: Final = {
    "Checked": "api",
    "check_spec": "api",
    "compile_spec": "api",
    "Diagnostic": "errors",
    "GiftError": "errors",
    "SpecError": "errors",
    "Family": "games.game",
    "FreeText": "games.game",
    "Game": "games.game",
    "GameFacts": "games.game",
    "State": "games.game",
}


def __getattr__(name: str) -> object:
    """Public names are imported when they are first asked for, so that `gift --help` imports none of them."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"gift_dsl.{_HOME[name]}"), name)
