"""Rows of the hub where there is no network: the commands say so after one attempt, and use what is on this machine."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from time import monotonic

import pytest

from gift_dsl import data
from gift_dsl.data import hub_within_reach, load
from gift_dsl.errors import MachineError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.items import load_items
from tests.evaluate.words import Saying

REFUSED = "http://127.0.0.1:9"
HUB = "HuggingFaceH4/MATH-500"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """No cache, no switches, no proxies, and no earlier attempt."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", REFUSED)
    data._hub_problem.cache_clear()


@contextmanager
def within(seconds):
    """A block that may take so long; retries of the hub's libraries take 23 s."""
    start = monotonic()
    yield
    assert monotonic() - start < seconds


class Forbidden(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_):
        pass


def test_rows_of_a_benchmark_are_missed_after_one_attempt():
    with within(10), pytest.raises(MachineError) as told:
        load_items("math500", None)
    said = str(told.value)
    assert (
        f"benchmark `math500`: the dataset {HUB} is not on this machine, and the hub ({REFUSED}) cannot be reached"
        in said
    )
    assert "set HF_HUB_OFFLINE=1" in said
    assert said.endswith("or give `data_dir`, a folder with its rows")


def test_rows_of_a_task_of_lm_eval_are_missed_after_one_attempt():
    request = BenchmarksRequest(({"type": "lm_eval", "task": "mmlu_anatomy"},), seed=1)
    with within(20), pytest.raises(MachineError, match=r"cannot be reached.*HF_HUB_OFFLINE=1; or give `data_dir`"):
        asyncio.run(evaluate_benchmarks(Saying(str), request))


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_a_hub_that_is_switched_off_is_not_tried(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(data, "_attempt", lambda endpoint: pytest.fail("it was tried"))
    with within(10), pytest.raises(MachineError, match=f"the hub is switched off.*{name}.*give `data_dir`"):
        load_items("math500", None)
    with within(10), pytest.raises(MachineError, match="is not on this machine, and the hub is switched off"):
        load(HUB, None, None, "test", None)


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(data, "_HUB_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with within(5), hub_within_reach() as problem:
            assert problem is not None
            assert "cannot be reached" in problem


def test_a_name_that_is_looked_up_for_ever_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(data, "_HUB_TIMEOUT_S", 0.2)
    over = Event()
    monkeypatch.setattr(data, "_attempt", lambda endpoint: str(over.wait(30)))
    with within(5), hub_within_reach() as problem:
        assert problem is not None
        assert "no answer within 0.2 s" in problem
    over.set()


def test_a_dead_proxy_is_no_way_to_the_hub(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://huggingface.co")
    monkeypatch.setenv("https_proxy", REFUSED)
    with within(5), hub_within_reach() as problem:
        assert problem is not None
        assert "https://huggingface.co" in problem
        assert "refused" in problem


def test_whoever_answers_is_left_to_the_hubs_libraries(monkeypatch):
    import huggingface_hub.constants

    with ThreadingHTTPServer(("127.0.0.1", 0), Forbidden) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with hub_within_reach() as problem:
            assert problem is None
            assert huggingface_hub.constants.HF_HUB_OFFLINE is False
        server.shutdown()
        thread.join()


def test_the_libraries_are_as_before_behind_the_block():
    import datasets.config
    import huggingface_hub.constants

    with hub_within_reach() as problem:
        assert problem is not None
        assert datasets.config.HF_HUB_OFFLINE is huggingface_hub.constants.HF_HUB_OFFLINE is True
    assert datasets.config.HF_HUB_OFFLINE is huggingface_hub.constants.HF_HUB_OFFLINE is False


def test_a_model_of_the_hub_is_loaded_in_such_a_block_and_a_folder_is_not(tmp_path):
    from gift_dsl.engines.load import _reaching

    with _reaching("org/name") as problem:
        assert problem is not None
    with _reaching(str(tmp_path)) as problem:
        assert problem is None
