from __future__ import annotations

import re
import stat
import tomllib
from pathlib import Path

import pytest

from gift_dsl import settings


@pytest.fixture(autouse=True)
def config_home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def keys_file(text):
    path = settings.user_config_dir() / "keys.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_the_user_folder_follows_xdg(config_home):
    assert settings.user_config_dir() == config_home / "gift"


@pytest.mark.parametrize("value", [None, "", "relative/folder"])
def test_without_an_absolute_xdg_folder_the_user_folder_is_in_the_home(value, monkeypatch):
    monkeypatch.delenv("XDG_CONFIG_HOME")
    if value is not None:
        monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert settings.user_config_dir() == Path.home() / ".config" / "gift"


def test_no_key_is_bound_until_the_user_binds_one():
    assert settings.load_key_bindings() == {}


def test_a_saved_binding_is_there_for_the_next_process():
    settings.save_key_binding("openrouter.ai", "OPENROUTER_API_KEY")
    settings.save_key_binding("localhost:1414", "VLLM_API_KEY")
    assert settings.load_key_bindings() == {"localhost:1414": "VLLM_API_KEY", "openrouter.ai": "OPENROUTER_API_KEY"}


def test_binding_a_host_again_replaces_its_key():
    settings.save_key_binding("openrouter.ai", "OLD_KEY")
    settings.save_key_binding("OpenRouter.ai", "NEW_KEY")
    assert settings.load_key_bindings() == {"openrouter.ai": "NEW_KEY"}


def test_the_file_of_bindings_is_toml_for_its_owner_alone():
    settings.save_key_binding("[::1]:8000", "KEY_1")
    path = settings.user_config_dir() / "keys.toml"
    assert tomllib.loads(path.read_text(encoding="utf-8")) == {"[::1]:8000": "KEY_1"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.toml"]


@pytest.mark.parametrize(
    ("host", "env"),
    [("", "KEY"), ("two hosts", "KEY"), ("https://a.b/c", "KEY"), ("a.b", "key"), ("a.b", ""), ("a.b", "1KEY")],
)
def test_what_is_no_host_or_no_name_is_not_saved(host, env):
    with pytest.raises(ValueError, match=r"host name|environment variable"):
        settings.save_key_binding(host, env)
    assert settings.load_key_bindings() == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"a.b" = KEY', r"keys.toml is not TOML in UTF-8: .*line 1"),
        ('"a.b" = 3', r"keys.toml: what is bound to 'a.b' is not the name"),
        ('["a.b"]\nname = "KEY"', r"keys.toml: what is bound to 'a.b' is not the name"),
        ('"a b" = "KEY"', r"keys.toml: 'a b' is not a host name"),
    ],
)
def test_a_broken_file_of_bindings_is_named_and_left_alone(text, message):
    path = keys_file(text)
    with pytest.raises(ValueError, match=message):
        settings.load_key_bindings()
    with pytest.raises(ValueError, match=message):
        settings.save_key_binding("c.d", "KEY")
    assert path.read_text(encoding="utf-8") == text


def test_a_key_that_stands_where_its_name_belongs_is_not_shown():
    keys_file('"a.b" = "sk-secret"')
    with pytest.raises(ValueError, match=r"a\.b") as caught:
        settings.load_key_bindings()
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(("env", "hosts"), settings.KNOWN_KEY_HOSTS.items())
def test_a_known_key_has_a_name_that_can_be_bound_to_its_hosts(env, hosts):
    assert hosts
    for host in hosts:
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host)
        settings.save_key_binding(host, env)
        assert settings.load_key_bindings()[host] == env


def test_shipped_folders_that_are_missing_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "gift_dsl" / "settings.py"))
    (tmp_path / "templates").mkdir()  # another distribution's folder beside an installed package is not ours
    with pytest.raises(FileNotFoundError, match="shipped templates are neither at"):
        settings.shipped("templates")


def test_a_wheel_holds_the_shipped_folders_inside_the_package(monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "__file__", str(tmp_path / "gift_dsl" / "settings.py"))
    inside = tmp_path / "gift_dsl" / "_shipped" / "games"
    inside.mkdir(parents=True)
    assert settings.shipped("games") == inside
