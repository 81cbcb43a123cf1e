"""The families of games: one frozen list, and the plugins that are read only when an unknown name asks for them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Final

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.games.game import GAME_API, Family

ENTRY_POINTS: Final = "gift_dsl.games"


class _Families(Mapping[str, Family]):
    """The built-in families by name; a family's file is imported when it is first asked for."""

    _modules: Final = MappingProxyType(
        {
            "matrix_games": "matrix",
            "board": "board",
            "whos_the_spy": "spy",
            "question": "question",
            "textarena": "textarena",
            "open_spiel": "open_spiel",
        }
    )

    def __getitem__(self, name: str) -> Family:
        family: Family = import_module(f"gift_dsl.games.{self._modules[name]}").FAMILY
        return family

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __contains__(self, name: object) -> bool:
        return name in self._modules


FAMILIES: Final[Mapping[str, Family]] = _Families()


def plugin_families() -> dict[str, Family]:
    """Families of installed packages, by name.

    Raises:
        MachineError: a plugin fails to load, or was written for another `game_api`.
    """
    return dict(_plugins(tuple(sys.path)))


@lru_cache(maxsize=4)
def _plugins(_search: tuple[str, ...]) -> Mapping[str, Family]:
    """The plugins of the packages below a search path, which is read once: an unknown type asks several times."""
    from importlib.metadata import entry_points

    found: dict[str, Family] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            family = entry.load()
        except (ImportError, AttributeError) as error:
            raise MachineError(f"the game plugin `{entry.name}` ({entry.value}) does not load: {error}") from error
        if not isinstance(family, Family):
            raise MachineError(f"the game plugin `{entry.name}` ({entry.value}) is not a gift_dsl Family")
        if family.game_api != GAME_API:
            raise MachineError(
                f"the game plugin `{entry.name}` is for game_api {family.game_api}, this gift has {GAME_API}"
            )
        found[family.name] = family
    return MappingProxyType(found)


def find_family(name: str) -> Family | None:
    """The family of this name, built in or from a plugin; None when there is none."""
    return FAMILIES.get(name) or plugin_families().get(name)


def get_family(name: str) -> Family:
    """The family of this name.

    Raises:
        UsageError: no such family is installed.
    """
    family = find_family(name)
    if family is None:
        known = ", ".join(sorted({*FAMILIES, *plugin_families()}))
        raise UsageError(f"no game family is called `{name}`; there are: {known}")
    return family
