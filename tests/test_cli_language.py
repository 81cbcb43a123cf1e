"""The commands that describe the language: show, explain, list, schema, init."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gift_dsl import api
from gift_dsl.cli import app
from gift_dsl.errors import MachineError, SpecError, UsageError
from gift_dsl.settings import shipped
from gift_dsl.spec.schema import authoring_schema
from gift_dsl.spec.source import parse_yaml
from gift_dsl.spec.starters import SCHEMA_FILE, starters
from tests.shipped import shipped_specs

SPECS = shipped_specs()
HEAVY = ("torch", "transformers", "trl", "accelerate", "lm_eval", "datasets", "numpy", "scipy", "sympy")

SPEC = """\
gift: 1
name: example
model: {source: tiny}
vars: {size: 4}
games:
  ttt: {type: tictactoe, opponents: random}
  own: {file: own.yaml, prompt: {file: own.j2}}
  both: {all_of: [ttt, {play: own, weight: 2}]}
stages:
  - {name: a, type: grpo, play: both, until: {steps: 10}, algorithm: {preset: dapo, keep: 0.5}}
  - {name: b, type: grpo, play: {in_turn: [ttt, own]}, until: {steps: 10}}
rollout: {max_tokens_per_turn: 20}
algorithm: {preset: gift_v1, group_size: "${vars.size}", mini_batch_size: all}
"""


def gift(*arguments):
    """A command's standard output."""
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def process(*arguments):
    """A command in a process of its own: exit code, stdout, stderr, and the modules it imported."""
    code = (
        "import sys\nfrom gift_dsl.cli import main\n"
        "try:\n    main()\nfinally:\n    print('MODULES', *sys.modules, file=sys.stderr)\n"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})


@pytest.fixture
def spec(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("type: question\nkind: number\ngenerate: {low: 0, high: 50}\n", encoding="utf-8")
    Path("own.j2").write_text("{{ question }}\n  Think.\n", encoding="utf-8")
    Path("spec.yaml").write_text(SPEC, encoding="utf-8")
    return "spec.yaml"


def lines(text):
    """The lines of a YAML text by what stands before their comment."""
    return dict(line.partition("  # ")[::2] for line in text.splitlines())


# ── show ──


def test_show_prints_the_spec_put_together(spec):
    text = gift("show", spec)
    tree, found = parse_yaml(text, "shown")
    assert found == []
    shown = tree.plain()
    assert shown["algorithm"]["group_size"] == 4
    assert shown["games"]["ttt"] == {"type": "tictactoe", "opponents": "random"}
    assert "vars" not in shown


def test_show_says_where_each_value_was_written(spec):
    shown = lines(gift("show", spec, "--resolved", "--origin", "--set", "seed=3"))
    assert shown["seed: 3"] == "<--set>:1"
    assert shown["name: example"] == "spec.yaml:2"
    assert shown["  group_size: 4"] == "spec.yaml:13, a variable of spec.yaml:4"
    assert shown["    title: TicTacToe"].startswith("games/tictactoe.yaml:")
    assert shown["    kind: number"] == "own.yaml:2"
    assert shown["precision: bf16"] == "default"
    assert shown["  clip_high: 0.28"] == "preset gift_v1"
    assert shown["      loss: token"] == "preset dapo"
    assert shown["      keep: 0.5"] == "spec.yaml:10"


def test_a_resolved_spec_leaves_nothing_to_other_files(spec):
    text = gift("show", spec, "--resolved")
    Path("elsewhere").mkdir()
    Path("elsewhere/spec.yaml").write_text(text, encoding="utf-8")
    before, after = (api.check_spec(path) for path in (spec, "elsewhere/spec.yaml"))
    assert after.ok
    assert "template: |" in text
    assert [plan.spec_hash for plan in after.plans()] == [plan.spec_hash for plan in before.plans()]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_resolved_spec_means_the_same(path, tmp_path):
    checked = api.check_spec(str(path), plan=False)
    if checked.fragment:
        with pytest.raises(UsageError, match="is a fragment"):
            api.show_document(checked, resolved=True)
        return
    run = checked.runs[-1]
    one = api.check_spec(str(path), plan=False, only=[f"{axis}={label}" for axis, label in run.choices.items()])
    document = api.show_document(one, resolved=True)
    again = api.check_spec("-", api.show_text(one, resolved=True), plan=False)
    assert [item for item in again.diagnostics if item.severity == "error"] == []
    assert api.show_document(again, resolved=True)["spec_hash"] == document["spec_hash"]
    assert api.show_document(again, resolved=True)["spec"] == document["spec"]


def test_show_json_is_one_document(spec):
    document = json.loads(gift("show", spec, "--resolved", "--origin", "--json"))
    assert document["schema"] == "gift-show/1"
    assert document["spec_hash"] == api.compile_spec(spec)[0].spec_hash
    assert document["spec"]["games"]["ttt"]["type"] == "board"
    assert document["origins"]["games.ttt.type"].startswith("games/tictactoe.yaml:")
    assert set(json.loads(gift("show", spec, "--json"))) == {"schema", "path", "run", "resolved", "spec"}


def test_show_of_a_sweep_asks_for_one_run(spec):
    with Path(spec).open("a", encoding="utf-8") as file:
        file.write("sweep: {axes: {seed: [1, 2]}}\n")
    done = process("show", spec)
    assert done.returncode == 2
    assert "--only seed=1" in done.stderr
    assert "--only seed=2" in done.stderr
    assert "run seed=2" in gift("show", spec, "--only", "seed=2")


def test_show_of_a_fragment_prints_what_is_there(tmp_path):
    path = tmp_path / "part.yaml"
    path.write_text("fragment: true\nalgorithm: {keep: 0.5}\n", encoding="utf-8")
    assert "keep: 0.5" in gift("show", path)
    done = process("show", path, "--resolved")
    assert done.returncode == 2
    assert "fragment" in done.stderr


def test_show_of_a_wrong_spec_says_what_is_wrong(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("gift: 1\nnmae: x\n", encoding="utf-8")
    done = process("show", path, "--resolved")
    assert done.returncode == 3
    assert "unknown-key" in done.stderr
    with pytest.raises(SpecError):
        api.show_text(api.check_spec(str(path)))


# ── explain and list ──


def test_explain_speaks_to_people_and_to_programs():
    assert "Ratios are clipped" in gift("explain", "algorithm.clip_high")
    document = json.loads(gift("explain", "algorithm.clip_high", "--json"))
    assert document["schema"] == "gift-explain/1"
    assert document["entries"][0]["default"] == 0.28


def test_explain_of_nothing_is_wrong_usage_with_a_hint():
    done = process("explain", "algorithm.clip_hihg")
    assert done.returncode == 2
    assert "did you mean `clip_high`?" in done.stderr


@pytest.mark.parametrize("what", ["games", "opponents", "benchmarks", "presets", "starters"])
def test_list_speaks_to_people_and_to_programs(what):
    document = json.loads(gift("list", what, "--json"))
    assert (document["schema"], document["what"]) == ("gift-list/1", what)
    text = gift("list", what)
    for item in document["items"]:
        assert item["name"] in text


def test_the_list_of_games_tells_seats_and_abilities():
    games = {item["name"]: item for item in api.list_things("games")}
    assert (games["tictactoe"]["seats"], games["tictactoe"]["origin"]) == (2, "shipped")
    assert "2 seats; strategic reasoning" in gift("list", "games")


# ── schema and init ──


def test_schema_prints_or_writes_the_schema(tmp_path):
    out = tmp_path / "deep" / "schema.json"
    assert json.loads(gift("schema")) == authoring_schema()
    gift("schema", "--out", out)
    assert json.loads(out.read_text(encoding="utf-8")) == authoring_schema()


@pytest.mark.parametrize("name", starters())
def test_a_started_project_is_right_as_it_stands(name, tmp_path, monkeypatch):
    document = json.loads(gift("init", tmp_path / "new", "--from", name, "--json"))
    assert document["schema"] == "gift-init/1"
    assert [Path(path).name for path in document["written"]] == [f"{name}.yaml", Path(SCHEMA_FILE).name, ".gitignore"]
    monkeypatch.chdir(tmp_path / "new")
    assert (
        Path(f"{name}.yaml").read_text(encoding="utf-8").startswith(f"# yaml-language-server: $schema={SCHEMA_FILE}\n")
    )
    assert json.loads(Path(SCHEMA_FILE).read_text(encoding="utf-8")) == authoring_schema()
    assert Path(".gitignore").read_text(encoding="utf-8").split() == ["runs/", ".env"]
    assert api.check_spec(f"{name}.yaml", plan=False).ok


def test_a_second_starter_may_join_the_first(tmp_path):
    first, *_ = api.init_project(tmp_path, "quickstart")
    before = first.read_text(encoding="utf-8")
    assert [path.name for path in api.init_project(tmp_path, "single")] == ["single.yaml"]
    assert first.read_text(encoding="utf-8") == before


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "quickstart.yaml").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is there already"):
        api.init_project(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["quickstart.yaml"]
    assert (tmp_path / "quickstart.yaml").read_text(encoding="utf-8") == "mine"
    done = process("init", tmp_path)
    assert done.returncode == 2


def test_init_does_not_replace_the_schema_of_another_version(tmp_path):
    path = tmp_path / SCHEMA_FILE
    path.parent.mkdir()
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="gift schema --out"):
        api.init_project(tmp_path)
    assert not (tmp_path / "quickstart.yaml").exists()


def test_init_adds_to_a_gitignore_what_it_lacks(tmp_path):
    path = tmp_path / ".gitignore"
    path.write_text("*.log\n.env", encoding="utf-8")
    assert path in api.init_project(tmp_path)
    assert path.read_text(encoding="utf-8") == "*.log\n.env\nruns/\n"


def test_init_of_an_unknown_starter_names_the_nearest(tmp_path):
    with pytest.raises(UsageError, match="did you mean `quickstart`"):
        api.init_project(tmp_path, "quikstart")


def test_init_where_nothing_can_be_written_is_a_matter_of_the_machine(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(MachineError, match="cannot be written"):
        api.init_project(tmp_path / "file")


# ── what is imported ──


def test_help_imports_none_of_the_libraries():
    done = process("--help")
    imported = set(done.stderr.partition("MODULES")[2].split())
    assert done.returncode == 0
    assert not imported & {*HEAVY, "pydantic", "ruamel.yaml", "jinja2", "rich"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("explain", "tictactoe"),
        ("list", "games"),
        ("schema",),
        ("show", str(shipped("specs") / "quickstart.yaml"), "--resolved"),
    ],
)
def test_no_description_imports_what_trains(arguments):
    done = process(*arguments)
    imported = set(done.stderr.partition("MODULES")[2].split())
    assert done.returncode == 0
    assert "gift_dsl.api" in imported or arguments == ("schema",)
    assert not imported & {*HEAVY, "jinja2"}


@pytest.mark.parametrize("where", ["folder", "file/schema.json"])
def test_a_schema_that_cannot_be_written_is_said_in_one_line(tmp_path, where):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    done = process("schema", "--out", tmp_path / where)
    assert done.returncode == 4
    assert done.stderr.startswith(f"gift: cannot write {tmp_path / where}: ")


@pytest.mark.parametrize("key", ["extends", "fragment", "vars", "sweep"])
def test_the_keys_of_files_can_be_explained(key):
    (entry,) = json.loads(gift("explain", key, "--json"))["entries"]
    assert (entry["what"], entry["name"]) == ("file key", key)
    assert gift("explain", key).startswith(f"{key}  (how files become a spec)")
