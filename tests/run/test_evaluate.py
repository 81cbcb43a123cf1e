"""`gift eval`: who may be evaluated, on what, what is written, and what is not done twice."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from gift_dsl import api
from gift_dsl.artifacts.directory import open_run
from gift_dsl.artifacts.manifest import check_manifest
from gift_dsl.engines.load import load_policy
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.errors import GiftError, MachineError, SpecError, UsageError
from gift_dsl.players.make import Services
from gift_dsl.report.eval_tables import comparison_tables, eval_tables
from gift_dsl.report.tables import to_latex, to_markdown
from gift_dsl.run import evaluate as evaluate_run
from gift_dsl.run.drive import _work
from gift_dsl.run.final_benchmarks import run_benchmarks
from gift_dsl.run.request import FINAL
from gift_dsl.run.subjects import model_of_run, thinking_of
from gift_dsl.run.summary import make_summary, summary_text
from gift_dsl.train.team import Team
from tests.evaluate.words import make_model, make_tokenizer, solve, write_rows
from tests.play.scripted import tagged
from tests.players.server import completion
from tests.run.evaluated import finished_run, make_run, plan_of, serving, write_spec
from tests.run.small import SPEC, Told

SUBJECT = """
opponents:
  server: {{type: openai, base_url: "{url}", model: quick}}
"""
TASKS = ["game/arithmetic", "chain/nested/arithmetic", "chain/nested/tictactoe"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, to be copied or read."""
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def own(run, tmp_path):
    """A copy of it."""
    return open_run(shutil.copytree(run.path, tmp_path / "run"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a model that reads and writes characters."""
    folder, tokenizer = tmp_path_factory.mktemp("model"), make_tokenizer()
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def evaluate(target, told=None, **options):
    return api.evaluate(str(target), None, api.EvalOptions(tell=told or Told(), **options))


# ── a run ──


def test_a_run_is_evaluated_on_what_its_plan_says(own):
    found = evaluate(own.path, rounds=4)
    assert found["schema"] == "gift-eval/1"
    assert list(found["games"]) == ["arithmetic", "tictactoe"]
    assert list(found["chains"]) == ["nested"]
    assert found["split"] == found["protocol"]["split"] == "dev"
    assert found["checkpoint"] == "final"
    for score in (*found["games"].values(), *found["chains"]["nested"].values()):
        low, high = score["interval"]
        assert score["rounds"] == sum(score["counts"].values()) == 4
        assert low <= score["rate"] <= high
    assert [(play["label"], play["chain"], len(play["rounds"])) for play in found["plays"]] == [
        ("arithmetic", None, 4), ("tictactoe", None, 4), ("arithmetic", "nested", 4), ("tictactoe", "nested", 4),
    ]  # fmt: skip


def test_the_result_lies_in_the_run_and_in_its_manifest(own):
    found = evaluate(own.path, rounds=2, games=("arithmetic",))
    (path,) = own.evaluation.glob("eval-final-dev-*.json")
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(found))
    assert check_manifest(own) == []


def test_the_manifest_still_tells_what_was_changed_before(own):
    own.plan_file.write_bytes(own.plan_file.read_bytes() + b" ")
    evaluate(own.path, rounds=2, games=("arithmetic",))
    assert check_manifest(own) == ["plan.json was changed"]


def test_a_run_can_be_evaluated_without_history(own):
    """The games alone, since a chain is made of history; beside the result with it, and not compared with that."""
    whole, found = evaluate(own.path, rounds=4), evaluate(own.path, rounds=4, history="none")
    assert (whole["protocol"]["history"], found["protocol"]["history"]) == ("full", "none")
    assert (set(whole["chains"]), found["chains"]) == ({"nested"}, {})
    assert found["protocols"]["game/tictactoe"]["history"] == "none"
    assert any("prompts without history" in note for note in eval_tables(found)[0].notes)
    paths = sorted(own.evaluation.glob("eval-*.json"))
    assert len(paths) == 2
    with pytest.raises(GiftError, match="`history` is"):
        api.compare(paths)
    with pytest.raises(UsageError, match="make no chain: name the games of `nested`"):
        evaluate(own.path, games=("nested",), history="none")


def test_the_summary_of_a_run_says_that_it_was_measured_without_history(tmp_path):
    for name in ("full", "none"):
        (tmp_path / name).mkdir()
    told = [
        summary_text(make_summary(run, run.plan))
        for run in (finished_run(tmp_path / "full"), finished_run(tmp_path / "none", "evaluation.history=none"))
    ]
    assert ["without history" in text for text in told] == [False, True]


def test_the_test_split_is_read_only_where_it_is_asked_for(own):
    assert evaluate(own.path, rounds=2, games=("arithmetic",), split="test")["protocol"]["split"] == "test"
    assert evaluate(own.path, rounds=2, games=("arithmetic",))["protocol"]["split"] == "dev"


def test_what_is_finished_is_not_done_again(own):
    first, told = evaluate(own.path, rounds=2), Told()
    again = evaluate(own.path, told, rounds=2)
    assert str(told).count("done before") == 3
    assert {**again, "duration_s": 0} == {**first, "duration_s": 0}


def test_a_task_that_was_lost_is_done_again_alone(own):
    first, told = evaluate(own.path, rounds=2), Told()
    (kept,) = own.evaluation.glob("*/games/tictactoe.json")
    kept.unlink()
    again = evaluate(own.path, told, rounds=2)
    assert str(told).count("done before") == 2
    assert again["plays"] == first["plays"]


def test_other_weights_are_evaluated_anew(own, tmp_path):
    evaluate(own.path, rounds=2, games=("arithmetic",))
    build_tiny(plan_of(tmp_path, "seed=9"), own.stages / "nested")
    told = Told()
    evaluate(own.path, told, rounds=2, games=("arithmetic",))
    assert "done before" not in str(told)


def test_the_name_of_a_stage_stands_for_its_chain(own):
    found = evaluate(own.path, rounds=2, games=("nested",))
    assert (list(found["games"]), list(found["chains"])) == ([], ["nested"])


def test_the_shape_is_that_of_lm_eval(own):
    found = evaluate(own.path, rounds=2, games=("arithmetic", "nested"))
    assert list(found["results"]) == TASKS
    for part in ("n-samples", "counts", "intervals", "protocols", "versions", "n-shot", "higher_is_better"):
        assert list(found[part]) == TASKS
    assert found["results"]["game/arithmetic"]["success,none"] == found["games"]["arithmetic"]["rate"]
    assert found["protocols"]["chain/nested/tictactoe"]["opponents"] == ["random"]


def test_what_prompts_are_made_of_stands_beside_every_game(own):
    found = evaluate(own.path, rounds=2, games=("arithmetic", "nested"))["protocols"]
    alone, part, other = (found[name] for name in TASKS)
    assert alone["template_hash"] == part["template_hash"] != other["template_hash"]
    assert alone["rules_hash"] == part["rules_hash"] != other["rules_hash"]
    assert alone["chat_template_hash"] == other["chat_template_hash"]
    assert (alone["thinking"], alone["compat"]) == (thinking_of(own.plan), own.plan.compat)


def test_another_chat_template_is_another_evaluation(model, tmp_path):
    def play(*sets):
        told = Told()
        found = evaluate(model, told, rounds=2, games=("tictactoe",), sets=sets, out=tmp_path / "eval.json")
        return found["protocols"]["game/tictactoe"], "done before" in str(told)

    first, _ = play()
    assert play() == (first, True)
    template = "{% for message in messages %}{{ message['content'] }}<|end|>{% endfor %}"
    other, is_taken_up = play(f"model.chat_template={json.dumps(template)}")
    assert not is_taken_up
    assert {name for name in first if first[name] != other[name]} == {"chat_template_hash"}


# ── a spec, a model, an endpoint ──


def test_a_spec_stands_for_the_model_it_begins_with(tmp_path):
    found = evaluate(write_spec(tmp_path), rounds=2, games=("arithmetic",), sets=("evaluation.seed=5",))
    assert found["subject"]["source"] == "tiny"
    assert found["protocol"]["seed"] == 5
    assert list((tmp_path / "runs" / "small" / "eval").glob("eval-model-dev-*.json"))


def test_rounds_are_those_of_the_plan_unless_given(tmp_path):
    assert evaluate(write_spec(tmp_path), games=("arithmetic",))["games"]["arithmetic"]["rounds"] == 8


@pytest.mark.parametrize(
    "sets",
    [
        ("evaluation.final.opponents={tictactoe: minimax}",),
        ("opponents.some={type: pool, members: [minimax]}", "games.tictactoe.opponents=some"),
        ("opponents.old={type: snapshot, first: minimax}", "games.tictactoe.opponents=old"),
    ],
)
def test_types_that_need_no_field_play_wherever_they_are_named(tmp_path, sets):
    found = evaluate(write_spec(tmp_path), rounds=2, games=("tictactoe",), sets=sets)
    assert found["games"]["tictactoe"]["counts"]["success"] == 0, "nobody beats a perfect player"


def seated_for_snapshots(monkeypatch, target, **options):
    """Weights of whoever plays for snapshots, and what was said of it."""
    seats, told = [], Told()

    class Looking(evaluate_run.Examiner):
        def measure(self, stage, request, team):
            seats.append(self._players(("tictactoe",), request)["old"])
            return super().measure(stage, request, team)

    monkeypatch.setattr(evaluate_run, "Examiner", Looking)
    evaluate(target, told, rounds=2, games=("tictactoe",), **options)
    return seats[0].policy.model.state_dict(), str(told)


SNAPSHOT = ("opponents.old={type: snapshot}", "games.tictactoe.opponents=old")


def test_a_snapshot_is_what_the_last_stage_of_a_run_began_with(tmp_path, monkeypatch):
    run = finished_run(tmp_path, *SNAPSHOT)
    build_tiny(plan_of(tmp_path, "seed=9"), run.stages / "warmup")
    found, told = seated_for_snapshots(monkeypatch, run.path)
    began, ended = (load_policy(run.plan.model, str(run.stages / name)).model for name in ("warmup", "nested"))
    assert all(torch.equal(found[name], value) for name, value in began.state_dict().items())
    assert not all(torch.equal(found[name], value) for name, value in ended.state_dict().items())
    assert "snapshots are start" in told


def test_a_snapshot_of_a_spec_is_the_model_that_it_begins_with(tmp_path, monkeypatch, model):
    opponents = f"\nopponents:\n  near: {{type: local, source: {model}}}\n"
    spec = write_spec(tmp_path, SPEC + opponents)
    own, told = seated_for_snapshots(monkeypatch, spec, sets=SNAPSHOT)
    assert "snapshots are tiny, tiny: what the last stage begins with" in told
    found, told = seated_for_snapshots(monkeypatch, spec, sets=SNAPSHOT, subject="near", out=tmp_path / "near.json")
    assert all(torch.equal(found[name], value) for name, value in own.items()), "not the subject"
    assert "snapshots are tiny" in told


def test_our_benchmarks_are_asked_of_a_model_folder(model, rows, tmp_path):
    names = ("math500", "mmlu", "mmlu_pro", "social_iqa", "commongen")
    found = evaluate(
        model,
        benchmarks=names,
        data=rows,
        limit=2,
        judge="stand-in",
        sets=("evaluation.sampling.max_tokens=4",),
        out=tmp_path / "result.json",
    )
    assert list(found["results"]) == [*names[:4], "commongen_stand_in"]
    assert all(count["effective"] == 2 for count in found["n-samples"].values())
    assert "avg" not in found["groups"], "the stand-in is no CommonGen, and a mean of three is another number"
    assert found["protocols"]["mmlu"]["max_tokens"] == 4
    assert (tmp_path / "result" / "benchmarks" / "samples_mmlu.jsonl").is_file()
    (table,) = eval_tables(found)
    assert "templates" in to_markdown(table)


def test_a_model_folder_plays_a_shipped_game_by_its_name(model, tmp_path):
    sets = ("evaluation.sampling.max_tokens=4",)
    found = evaluate(model, games=("tictactoe",), rounds=2, sets=sets, out=tmp_path / "result.json")
    score = found["games"]["tictactoe"]
    assert score["rounds"] == 2
    assert score["opponents"] == ["random"]
    (table,) = eval_tables(found)
    assert "against random" in to_markdown(table)
    assert r"95 \% interval" in to_latex(table)


def test_an_endpoint_plays_and_answers_as_the_model_would(rows, tmp_path):
    def reply(body):
        text = body["messages"][-1]["content"]
        return tagged("1") if "board" in text.casefold() or "+ " not in text else solve(text)

    with serving(reply) as server:
        spec = write_spec(tmp_path, SPEC + SUBJECT.format(url=server.url))
        found = evaluate(spec, subject="server", games=("tictactoe",), benchmarks=("mmlu",), rounds=2, data=rows)
        assert {**found["subject"], "identity": ""} == {
            "name": "server", "kind": "endpoint", "source": "quick", "identity": "",
        }  # fmt: skip
        assert found["results"]["mmlu"]["acc,none"] == 1.0
        assert found["games"]["tictactoe"]["counts"]["void"] == 0
        asked = {(one.body["temperature"], one.body["max_tokens"]) for one in server.asked}
        assert asked == {(1.0, 6)}, "the sampling of the evaluation, not the opponent's own"


def test_an_endpoint_that_runs_out_of_tokens_loses_as_the_model_would(tmp_path):
    cut = completion("<think>I could go</think><answer>1</answer> and", finish_reason="length")
    with serving(None) as server:
        server.choose = lambda _asked: (200, {}, cut)
        spec = write_spec(tmp_path, SPEC + SUBJECT.format(url=server.url))
        score = evaluate(spec, subject="server", games=("tictactoe",), rounds=2)["games"]["tictactoe"]
    assert score["rounds"] == score["counts"]["bad_format"] == 2
    assert score["counts"]["void"] == 0
    assert score["truncated"] >= 2


def test_an_endpoint_is_not_asked_for_log_likelihoods(tmp_path):
    with serving(lambda body: "A") as server:
        spec = write_spec(tmp_path, SPEC + SUBJECT.format(url=server.url))
        with pytest.raises(UsageError, match="log-likelihood") as told:
            evaluate(spec, subject="server", benchmarks=("lm_eval/mmlu_anatomy",), data=local_mmlu(tmp_path))
        assert told.value.exit_code == 2
        with pytest.raises(UsageError, match="log-likelihood"):  # before rows are looked for
            evaluate(spec, subject="server", benchmarks=("lm_eval/mmlu",))
        assert server.asked == []


def local_mmlu(folder):
    row = {"question": "One?", "subject": "anatomy", "choices": ["1", "2", "3", "4"], "answer": 0}
    for split in ("dev", "test"):
        path = folder / "rows" / "anatomy" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text((json.dumps(row) + "\n") * 5)
    return folder / "rows"


def test_a_dead_endpoint_is_named_before_a_model_is_loaded(tmp_path):
    spec = write_spec(
        tmp_path,
        SPEC.replace("opponents: random", "opponents: server") + SUBJECT.format(url="http://127.0.0.1:9/v1"),
    )
    with pytest.raises(MachineError, match=r"nobody answers at 127\.0\.0\.1:9"):
        evaluate(spec, rounds=2)


def test_an_endpoint_that_refuses_everybody_is_told_of_before_a_model_is_loaded(tmp_path):
    with serving(lambda body: "<answer>1</answer>") as server:
        server.models = lambda _: (401, {}, "who are you?")
        spec = SPEC.replace("opponents: random", "opponents: server") + SUBJECT.format(url=server.url)
        with pytest.raises(MachineError, match="refuses requests without a key"):
            evaluate(write_spec(tmp_path, spec), rounds=2)
    assert server.asked == []


def test_two_evaluations_are_compared_as_checkpoints(own, tmp_path):
    files = [tmp_path / f"{name}.json" for name in ("dev", "again", "fewer")]
    for file, rounds in zip(files, (6, 6, 4), strict=True):
        evaluate(own.path, rounds=rounds, games=("tictactoe",), out=file)
    document = api.compare(files[:2])
    assert (document["kind"], document["source"], list(document["arms"])) == ("checkpoints", "eval", ["dev", "again"])
    assert [one["verdict"] for one in document["contrasts"]] == ["none"]
    (table,) = comparison_tables(document)
    assert "again against dev" in to_markdown(table)
    with pytest.raises(GiftError, match=r"evaluated differently.*`rounds` is 6 in .* and 4 in "):
        api.compare(files)
    with pytest.raises(UsageError, match="runs and --stage do not go with them"):
        api.compare([files[0], own.path])
    with pytest.raises(MachineError, match="no evaluation of this version"):
        api.compare([files[0], own.plan_file])


# ── bad input ──


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"games": ("arithmatic",)}, UsageError, "no game `arithmatic` to play; did you mean `arithmetic`?"),
        ({"benchmarks": ("mmluu",)}, UsageError, "did you mean `mmlu`?"),
        ({"benchmarks": ("commongen",)}, UsageError, "commongen needs a judge"),
        ({"benchmarks": ("commongen",), "judge": "nobody"}, UsageError, "`nobody` is not an opponent"),
        ({"benchmarks": ("mmlu",), "data": "nowhere"}, MachineError, "nowhere"),
        ({"subject": "random"}, UsageError, "`random` has type `random`"),
        ({"subject": "nobody"}, UsageError, "is not an opponent of the spec"),
        ({"checkpoint": "77"}, MachineError, "kept no checkpoint of step 77"),
        ({"checkpoint": "best"}, MachineError, "kept no best model"),
        ({"checkpoint": "worst"}, UsageError, "start, best, final or the number of a step"),
        ({"sets": ("seed=2",)}, UsageError, "a run has its plan"),
    ],
)
def test_what_a_run_cannot_be_asked_is_said(own, tmp_path, options, error, said):
    if "data" in options:
        options = {**options, "data": tmp_path / "nowhere"}
    with pytest.raises(error, match=said.replace("?", r"\?")):
        evaluate(own.path, **{"games": (), **options})


def test_a_run_that_is_not_done_has_no_final_model(tmp_path):
    with pytest.raises(MachineError, match=r"is not done|has handed on no model"):
        evaluate(make_run(tmp_path).path, rounds=2)


def test_a_run_of_a_newer_version_is_named(own):
    status = json.loads(own.status_file.read_text(encoding="utf-8"))
    own.status_file.write_text(json.dumps({**status, "schema": "gift-run/9"}))
    with pytest.raises(MachineError, match="newer gift"):
        evaluate(own.path)


def test_a_run_whose_plan_is_of_another_version_is_named(own):
    plan = json.loads(own.plan_file.read_text(encoding="utf-8"))
    own.plan_file.write_text(json.dumps({**plan, "schema": "gift-plan/0"}))
    with pytest.raises(MachineError, match="is not a plan that this version of gift can run"):
        evaluate(own.path)


@pytest.mark.parametrize("target", ["nothing", "no such thing/at all", "a/b/c"])
def test_an_unknown_target_is_named(target):
    with pytest.raises(UsageError, match="neither a spec file, a run directory, a model folder nor a hub id"):
        evaluate(target, games=("tictactoe",))


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(MachineError, match=r"there is no config\.json"):
        evaluate(tmp_path, games=("tictactoe",))


def test_a_model_alone_does_not_say_on_what(model):
    with pytest.raises(UsageError, match="with --games or --benchmarks"):
        evaluate(model)


def test_an_unknown_game_of_a_model_is_named(model):
    with pytest.raises(UsageError, match=r"no game `chesss`; games are: .*tictactoe"):
        evaluate(model, games=("chesss",))


def test_a_wrong_spec_is_a_spec_error(tmp_path):
    with pytest.raises(SpecError):
        evaluate(write_spec(tmp_path, SPEC.replace("precision", "precisoin")))


def test_a_spec_of_several_runs_wants_a_choice(tmp_path):
    spec = write_spec(tmp_path, SPEC + "sweep: {axes: {seed: [1, 2]}}\n")
    with pytest.raises(UsageError, match="has 2 runs; choose one with --only"):
        evaluate(spec)


# ── the benchmarks of a run ──


def benchmarked(folder, limit=2):
    entries = (f"{{type: {name}, data_dir: {folder / name}, limit: {limit}}}" for name in ("mmlu", "math500"))
    return f"evaluation.benchmarks=[{', '.join(entries)}]"


def test_a_run_asks_its_benchmarks_after_its_final_test(rows, tmp_path):
    made = finished_run(tmp_path, benchmarked(rows), "evaluation.final.checkpoints=[final]")
    assert _work(made, made.plan) == [FINAL]
    made.evaluation.mkdir()
    (made.evaluation / "final.json").write_text("{}")
    assert _work(made, made.plan) == [FINAL], "the benchmarks are missing"
    session = SimpleNamespace(plan=made.plan, run=made, team=Team(), is_main=True, services=lambda **_: Services())
    engine = model_of_run(made, made.plan, "final").asked(Services())
    run_benchmarks(session, lambda _: (str(made.stages / "nested"), engine))
    document = json.loads((made.evaluation / "benchmarks.json").read_text(encoding="utf-8"))
    assert document["schema"] == "gift-final-benchmarks/1"
    assert list(document["checkpoints"]) == ["final"]
    assert list(document["checkpoints"]["final"]["results"]) == ["mmlu", "math500"]
    assert _work(made, made.plan) == []


def test_rows_that_are_missing_are_said_before_a_run_starts(rows, tmp_path):
    options = api.RunOptions(tell=Told(), sets=(benchmarked(tmp_path / "gone"),))
    with pytest.raises(MachineError, match=r"benchmark `mmlu`.*gone"):
        api.run(write_spec(tmp_path), None, options)
    assert not (tmp_path / "runs").exists()


def test_every_failure_can_be_caught_as_one(tmp_path):
    with pytest.raises(GiftError):
        evaluate(tmp_path / "spec.yaml")
