"""`gift eval` of a model that a vLLM server holds, as far as that can be seen without one: the server is a stand-in."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from gift_dsl import api
from gift_dsl.engines.served import Server, read_card
from gift_dsl.errors import GiftError, MachineError
from tests.engines.standin import StandIn
from tests.evaluate.words import make_model, make_tokenizer, write_rows
from tests.run.evaluated import write_spec
from tests.run.small import SPEC, Told


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model that reads and writes characters."""
    found, tokenizer = tmp_path_factory.mktemp("model"), make_tokenizer()
    make_model(tokenizer).save_pretrained(found)
    tokenizer.save_pretrained(found)
    return found


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    found = write_rows(tmp_path_factory.mktemp("rows"))
    row = {"question": "What is two and two?", "subject": "anatomy", "choices": ["1", "2", "4", "5"], "answer": 2}
    for split in ("dev", "test"):
        path = found / "mmlu_anatomy" / "anatomy" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for _ in range(4)))
    return found


@pytest.fixture
def server(folder):
    """It computes in fp32, so that it can be held to the engine in this process."""
    with StandIn(make_model(make_tokenizer()), compute="fp32") as server:
        server.root = str(folder)
        yield server


def evaluated(folder, server, out, told=None, sets=(), **options):
    spec = write_spec(out, SPEC.replace("{source: tiny, gradient_checkpointing: false}", f"{{source: {folder}}}"))
    vllm = () if server is None else (f"resources.vllm={{mode: serve, base_url: '{server.url}'}}",)
    given = api.EvalOptions(tell=told or Told(), out=out / "result.json", sets=(*vllm, *sets), **options)
    return api.evaluate(spec, None, given)


def samples(out, name):
    lines = (out / "result" / "benchmarks" / f"samples_{name}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@contextmanager
def made(path):
    path.mkdir()
    yield path


def test_a_spec_with_a_served_vllm_is_evaluated_by_it(folder, rows, server, tmp_path):
    asked = {"games": ("tictactoe",), "rounds": 4, "benchmarks": ("mmlu", "lm_eval/mmlu_anatomy"), "data": rows}
    with made(tmp_path / "served") as there, made(tmp_path / "own") as here:
        found = evaluated(folder, server, there, **asked)
        own = evaluated(folder, None, here, **asked)
        assert len(server.asked) > 9 + 4 * 4
        host = server.url.removeprefix("http://")
        assert found["subject"]["source"] == f"{folder} at {host}"
        assert found["subject"]["identity"] == f"{own['subject']['identity']} by vLLM"
        score = found["games"]["tictactoe"]
        assert (score["rounds"], score["counts"]["void"]) == (4, 0)
        assert found["n-samples"]["mmlu"]["effective"] == 9
        for mine, theirs in zip(
            samples(there, "lm_eval_mmlu_anatomy"), samples(here, "lm_eval_mmlu_anatomy"), strict=True
        ):
            for ours, others in zip(mine["filtered_resps"], theirs["filtered_resps"], strict=True):
                assert float(ours[0]) == pytest.approx(float(others[0]), abs=1e-4)


def test_another_model_than_the_one_that_is_served_is_refused(folder, server, tmp_path):
    server.root = "/models/another"
    with pytest.raises(MachineError, match=rf"serves /models/another, and {folder} is to be evaluated; start it with"):
        evaluated(folder, server, tmp_path, games=("tictactoe",))
    assert server.asked == []


def test_sequences_that_are_too_short_for_the_games_are_said_before_one_is_played(folder, server, tmp_path):
    server.longest = 7
    with pytest.raises(MachineError, match=r"takes sequences of 7 tokens and the games need .*--max-model-len"):
        evaluated(folder, server, tmp_path, games=("tictactoe",))
    assert server.asked == []


def test_a_server_without_log_probabilities_of_prompts_is_refused_before_anything_is_asked(
    folder, rows, server, tmp_path
):
    server.change = lambda choice: {**choice, "prompt_logprobs": None}
    with pytest.raises(
        MachineError, match=r"`lm_eval_mmlu_anatomy` compares log-likelihoods, and .*no log-probabilities"
    ):
        evaluated(folder, server, tmp_path, benchmarks=("mmlu", "lm_eval/mmlu_anatomy"), data=rows)
    assert len(server.asked) == 1, "what was tried"


def test_what_a_server_answered_before_it_died_is_kept(folder, rows, server, tmp_path):
    server.faults = [400] * 99
    with pytest.raises(GiftError, match="the vLLM server at"):
        evaluated(folder, server, tmp_path, benchmarks=("mmlu",), data=rows)
    server.faults = []
    assert evaluated(folder, server, tmp_path, benchmarks=("mmlu",), data=rows)["n-samples"]["mmlu"]["effective"] == 9


def test_nobody_at_the_address_is_said(folder, tmp_path):
    with StandIn() as server:
        pass
    with pytest.raises(MachineError, match=r"`resources.vllm`: nobody answers at 127\.0\.0\.1"):
        evaluated(folder, server, tmp_path, games=("tictactoe",))


def test_the_model_that_adapters_are_based_on_is_what_is_served(server):
    assert read_card(Server(server.url)).name == "base"


class Page(BaseHTTPRequestHandler):
    """Answers everything with a page, or with 404 where `missing` is asked for."""

    def do_GET(self):
        self.send_response(404 if "missing" in self.path else 200)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("path", ["", "/missing"])
def test_a_server_of_something_else_is_named(path):
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(MachineError, match="does not say what it serves"):
            read_card(Server(f"http://127.0.0.1:{server.server_port}{path}"))
        server.shutdown()
        thread.join()
