"""`compat: gift_v1`, from the spec to the tables: both scorings of the same answers, whoever asks for them."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from gift_dsl import api
from gift_dsl.players.make import Services
from gift_dsl.report.eval_tables import eval_tables
from gift_dsl.report.tables import to_latex, to_markdown
from gift_dsl.run.final_benchmarks import run_benchmarks
from gift_dsl.run.subjects import model_of_run
from gift_dsl.run.summary import make_summary, summary_text
from gift_dsl.train.team import Team
from tests.evaluate.words import solve, write_rows
from tests.run.evaluated import finished_run, serving, write_spec
from tests.run.small import SPEC, Told

NAMES = ("math500", "mmlu", "mmlu_pro", "social_iqa", "commongen")


def reply(body):
    """The writer marks its letters, `(B)`; the judge says in a sentence that it prefers B."""
    text = body["messages"][-1]["content"]
    if body["model"] == "judge":
        return "Answer: B. A simpler sentence."
    return re.sub(r"<answer>([A-J])</answer>", r"<answer>(\1)</answer>", solve(text))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture
def server():
    with serving(reply) as server:
        yield server


def text_of(server, rows):
    """A spec that asks the five of a model behind an endpoint, in the paper's way."""
    listed = (f"{{type: {name}, data_dir: {rows / name}}}" for name in NAMES[:-1])
    judged = f"{{type: commongen, data_dir: {rows / 'commongen'}, judge: judge}}"
    ask = f'type: openai, base_url: "{server.url}", retries: 0'
    return SPEC.replace("precision: fp32", "precision: fp32\ncompat: gift_v1") + (
        f"  benchmarks: [{', '.join(listed)}, {judged}]\n  subjects: [writer]\n"
        f"opponents:\n  writer: {{{ask}, model: writer}}\n  judge: {{{ask}, model: judge}}\n"
    )


def evaluated(tmp_path, server, rows, **options):
    spec = write_spec(tmp_path, text_of(server, rows))
    given = {"subject": "writer", "out": tmp_path / "result.json", "benchmarks": NAMES, **options}
    return api.evaluate(spec, None, api.EvalOptions(tell=Told(), **given))


def assert_both(results, groups):
    """Our scoring reads `(B)` as B and `Answer: B` as B; the paper's reads nothing and A."""
    for name in ("mmlu", "mmlu_pro", "social_iqa"):
        assert (results[name]["acc,none"], results[name]["acc,gift_v1"]) == (1.0, 0.0), name
    assert results["math500"]["acc,none"] == 1.0
    assert results["math500"]["acc,gift_v1"] == 1.0, "whole numbers survive it"
    common = results["commongen"]
    assert common["win_tie,none"] == 0.5, "a judge that always says B gives half"
    assert common["win_tie,gift_v1"] in (0.0, 1 / 3, 2 / 3, 1.0), "one order, in which the model stood where A is"
    for scoring, mean in (("none", (3 + 0.5) / 4), ("gift_v1", common["win_tie,gift_v1"] / 4)):
        assert groups["avg"][f"avg,{scoring}"] == pytest.approx(mean)


def test_gift_eval_prints_both_scorings_of_an_endpoint(tmp_path, server, rows):
    found = evaluated(tmp_path, server, rows)
    assert_both(found["results"], found["groups"])
    assert all(found["protocols"][name]["scorings"] == ["none", "gift_v1"] for name in NAMES)
    assert found["protocols"]["commongen"]["judge"] == "judge"
    assert found["more"]["commongen"]["consistency"] == 0.0
    for render in (to_markdown, to_latex):
        lines = "\n".join(render(table) for table in eval_tables(found)).splitlines()
        for name in (*NAMES, "avg"):
            shown = [line for line in lines if line.replace("\\_", "_").strip("| ").startswith(f"{name} ")]
            assert sum("ours" in line for line in shown) == 1, (name, render)
            assert sum("gift" in line for line in shown) == 1, (name, render)


def test_without_it_ours_alone_is_printed(tmp_path, server, rows):
    found = evaluated(tmp_path, server, rows, sets=("compat=none",), benchmarks=("mmlu",))
    assert [key for key in found["results"]["mmlu"] if "gift_v1" in key] == []


def test_a_run_asks_in_both_scorings_at_its_end_and_so_does_gift_eval_of_it(tmp_path, server, rows):
    run = finished_run(tmp_path, "evaluation.final.checkpoints=[final]", text=text_of(server, rows))
    session = SimpleNamespace(
        plan=run.plan,
        run=run,
        team=Team(),
        is_main=True,
        services=lambda **_: Services(base_urls=run.plan.runtime.base_urls),
    )
    engine = model_of_run(run, run.plan, "final").asked(Services())
    run_benchmarks(session, lambda _: (str(run.stages / "nested"), engine))
    document = json.loads((run.evaluation / "benchmarks.json").read_text(encoding="utf-8"))
    assert_both(document["subjects"]["writer"]["results"], document["subjects"]["writer"]["groups"])
    mine = document["checkpoints"]["final"]["results"]["mmlu"]
    assert {"acc,none", "acc,gift_v1"} <= mine.keys()
    said = summary_text(make_summary(run, run.plan))
    assert "mmlu acc,none (writer)" in said
    assert "mmlu acc,gift_v1 (writer)" in said
    found = api.evaluate(str(run.path), None, api.EvalOptions(tell=Told(), benchmarks=("mmlu",)))
    assert found["results"]["mmlu"]["acc,gift_v1"] == mine["acc,gift_v1"]
    assert found["subject"]["identity"] == model_of_run(run, run.plan, "final").identity


def asked_of(server, model):
    return sum(one.body["model"] == model for one in server.asked)


def test_another_judge_and_another_scoring_ask_the_model_nothing_twice(tmp_path, server, rows):
    evaluated(tmp_path, server, rows, benchmarks=("commongen", "mmlu"), limit=2)
    assert asked_of(server, "writer") == 4
    more = {"benchmarks": ("commongen", "mmlu"), "judge": "stand-in", "sets": ("compat=none",)}
    found = evaluated(tmp_path, server, rows, **more)
    assert list(found["results"]) == ["commongen_stand_in", "mmlu"]
    assert asked_of(server, "writer") == 3 + 9, "only what lay beyond the limit"


def test_an_endpoint_that_is_asked_otherwise_is_another_one(tmp_path, server, rows):
    found = [
        evaluated(tmp_path, server, rows, benchmarks=("mmlu",), limit=2, sets=sets)
        for sets in ((), (), ("opponents.writer.top_p=0.5",))
    ]
    assert [one["subject"]["source"] for one in found] == ["writer"] * 3
    assert found[0]["subject"]["identity"] == found[1]["subject"]["identity"] != found[2]["subject"]["identity"]
    assert asked_of(server, "writer") == 2 + 0 + 2
