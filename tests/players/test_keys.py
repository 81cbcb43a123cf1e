"""A key goes only where the user lets it go, and a known key only to its owner."""

from __future__ import annotations

import pytest

from gift_dsl.errors import MachineError
from gift_dsl.players.keys import resolve_key

OPENROUTER = "https://openrouter.ai/api/v1"
ENVIRONMENT = {"OPENROUTER_API_KEY": "sk-or-1", "LAB_KEY": " secret\n", "EMPTY": " ", "BROKEN": "a\nb"}


def nobody(host, env_name):
    raise AssertionError("nobody is to be asked")


def resolve(env_name, url, bindings=(), ask=None):
    return resolve_key(env_name, url, dict(bindings), ask, ENVIRONMENT)


@pytest.mark.parametrize("url", ["http://localhost:1414/v1", "https://models.example.org/v1"])
def test_an_endpoint_that_names_no_key_gets_none(url):
    assert resolve(None, url) is None


def test_a_bound_key_is_read_from_the_environment():
    assert resolve("OPENROUTER_API_KEY", OPENROUTER, {"openrouter.ai": "OPENROUTER_API_KEY"}, nobody) == "sk-or-1"
    assert resolve("LAB_KEY", "http://localhost:1414/v1", {"localhost:1414": "LAB_KEY"}, nobody) == "secret"


def test_the_environment_is_that_of_the_process_unless_given(monkeypatch):
    monkeypatch.setenv("LAB_KEY", "from the process")
    assert resolve_key("LAB_KEY", "http://a.example/v1", {"a.example": "LAB_KEY"}) == "from the process"


@pytest.mark.parametrize(
    "bindings",
    [{}, {"openrouter.ai": "LAB_KEY"}, {"openrouter.ai.example": "OPENROUTER_API_KEY"}],
)
def test_an_unbound_pair_is_refused_with_the_line_that_binds_it(bindings, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        resolve("OPENROUTER_API_KEY", OPENROUTER, bindings)
    assert '"openrouter.ai" = "OPENROUTER_API_KEY"' in str(caught.value)
    assert str(tmp_path / "gift" / "keys.toml") in str(caught.value)
    assert "sk-or-1" not in str(caught.value)


def test_another_port_is_another_host():
    with pytest.raises(MachineError, match="not bound to localhost:9999"):
        resolve("LAB_KEY", "http://localhost:9999/v1", {"localhost": "LAB_KEY", "localhost:1414": "LAB_KEY"})


@pytest.mark.parametrize("url", ["https://OpenRouter.ai:443/api/v1", "https://user:password@openrouter.ai/api/v1"])
def test_a_host_is_recognised_however_it_is_written(url):
    assert resolve("OPENROUTER_API_KEY", url, {"openrouter.ai": "OPENROUTER_API_KEY"}) == "sk-or-1"


def test_a_person_who_is_asked_decides():
    asked = []

    def ask(host, env_name):
        asked.append((host, env_name))
        return len(asked) == 1

    assert resolve("LAB_KEY", "http://lab:8000/v1", ask=ask) == "secret"
    with pytest.raises(MachineError, match="not bound"):
        resolve("LAB_KEY", "http://lab:8000/v1", ask=ask)
    assert asked == [("lab:8000", "LAB_KEY")] * 2


@pytest.mark.parametrize(
    "url", ["https://api.evil.example/v1", "https://openrouter.ai.evil.example/v1", "http://localhost/v1"]
)
def test_a_known_key_goes_to_its_owner_only_whatever_is_bound_or_answered(url):
    host = url.split("/")[2]
    with pytest.raises(MachineError, match=r"belongs to openrouter\.ai and is not sent to"):
        resolve("OPENROUTER_API_KEY", url, {host: "OPENROUTER_API_KEY"}, lambda *_: True)


def test_a_known_key_is_never_sent_in_the_clear():
    with pytest.raises(MachineError, match="without encryption"):
        resolve("OPENROUTER_API_KEY", "http://openrouter.ai/api/v1", {"openrouter.ai": "OPENROUTER_API_KEY"})


@pytest.mark.parametrize(
    ("env_name", "problem"), [("UNSET", "is not set"), ("EMPTY", "is not set"), ("BROKEN", "characters")]
)
def test_a_variable_without_a_usable_key_is_named(env_name, problem):
    with pytest.raises(MachineError, match=f"{env_name}.*{problem}"):
        resolve(env_name, "http://lab/v1", {"lab": env_name})


def test_a_missing_key_is_this_machines_matter():
    assert MachineError.exit_code == 4
