"""Plugins are looked for once: an unknown type of game asks for them several times."""

import importlib.metadata

from gift_dsl.games import families


def test_installed_packages_are_searched_once_for_many_unknown_types(monkeypatch):
    searches: list[str] = []
    families._plugins.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: searches.append(group) or ())
    assert [families.find_family(name) for name in ("tic", "tac", "toe")] == [None, None, None]
    assert searches == [families.ENTRY_POINTS]
    families._plugins.cache_clear()


def test_another_search_path_is_searched_anew(monkeypatch, tmp_path):
    searches: list[str] = []
    families._plugins.cache_clear()
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: searches.append(group) or ())
    families.plugin_families()
    monkeypatch.syspath_prepend(tmp_path)
    families.plugin_families()
    assert len(searches) == 2
    families._plugins.cache_clear()
