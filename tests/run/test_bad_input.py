"""What is wrong with the machine or the spec's files: one clear message each, and nothing lost."""

from __future__ import annotations

import json
import shutil
import socket
from types import SimpleNamespace

import pytest

from gift_dsl import api, data
from gift_dsl.artifacts.checkpoints import latest
from gift_dsl.artifacts.directory import RunDirectory, find_runs
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.run import preflight, seating, stage
from gift_dsl.train.grpo import GiftTrainer
from tests.run.small import SPEC, Told, assert_same, here
from tests.run.test_spent import served

NO_TEMPLATE = {"tokenizer_class": "PreTrainedTokenizerFast"}


def refusal(folder, text, **options):
    """The message of a run that does not begin, of which nothing is left."""
    with pytest.raises(MachineError) as raised:
        here(folder, text, **options)
    assert raised.value.exit_code == 4
    assert not (folder / "runs").exists()
    return str(raised.value)


def model_of(source):
    return SPEC.replace("{source: tiny, gradient_checkpointing: false}", f"{{source: {source}}}")


def test_a_missing_model_folder_is_named(tmp_path):
    said = refusal(tmp_path, model_of("./nowhere"))
    assert f"the model folder ./nowhere does not exist (looked for {tmp_path / 'nowhere'})" in said


def test_everything_that_a_model_folder_lacks_is_told_at_once(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "readme.txt").write_text("nothing else")
    said = refusal(tmp_path, model_of("./model"))
    assert "no config.json" in said
    assert "holds no weights" in said
    assert "holds no tokenizer" in said


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_repair(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "tokenizer_config.json").write_text(json.dumps(NO_TEMPLATE))
    said = refusal(tmp_path, model_of("./model"))
    assert "has no chat template; give one with `model.chat_template`" in said


def test_a_run_to_start_from_that_is_not_there_is_named(tmp_path):
    said = refusal(tmp_path, SPEC.replace("{source: tiny, gradient_checkpointing: false}", "{from_run: {run: other}}"))
    assert "no finished run `other`" in said


def against(opponent):
    return SPEC.replace("opponents: random", "opponents: rival") + f"opponents:\n  rival: {opponent}\n"


def test_an_endpoint_that_does_not_answer_is_named(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    text = against(f"{{type: openai, base_url: 'http://127.0.0.1:{port}/v1', model: m}}")
    said = refusal(tmp_path, text)
    assert f"opponent `rival`: nobody answers at 127.0.0.1:{port}" in said


def test_an_endpoint_that_refuses_everybody_is_named_before_anything_begins(tmp_path):
    with served() as server:
        server.models = lambda _asked: (401, {}, "Unauthorized")
        said = refusal(tmp_path, against(f"{{type: openai, base_url: '{server.url}', model: m}}"))
    assert f"opponent `rival`: {server.host} refuses requests without a key (HTTP 401)" in said
    assert server.asked == []


def test_a_missing_key_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    text = against("{type: openai, base_url: 'http://127.0.0.1:9/v1', model: m, api_key_env: RIVAL_KEY}")
    said = refusal(tmp_path, text)
    assert "opponent `rival`: " in said
    assert "RIVAL_KEY" in said


def test_a_local_opponent_that_is_not_there_is_named(tmp_path):
    said = refusal(tmp_path, against("{type: local, source: ./rival}"))
    assert f"opponent `rival`: the model folder ./rival does not exist (looked for {tmp_path / 'rival'})" in said


def asked(dataset):
    return SPEC.replace("games:\n", f"games:\n  facts: {{type: question, dataset: {dataset}}}\n").replace(
        "[arithmetic, tictactoe]", "[facts, tictactoe]"
    )


def test_zero_without_deepspeed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "find_spec", lambda name: None)
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    sets = ["resources.sharding=zero2", "resources.processes=2", "resources.micro_batch_size=2"]
    (plan,) = api.compile_spec(str(tmp_path / "spec.yaml"), sets=sets)
    with pytest.raises(MachineError, match=r"sharding: zero2` needs DeepSpeed .*pip install 'gift-dsl\[deepspeed\]'"):
        preflight.check_machine(plan, lambda name, url: None, None)


def test_a_launcher_that_was_told_how_weights_are_shared_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(UsageError, match=r"ACCELERATE_USE_FSDP=true\); say it in the spec: `resources.sharding`"):
        here(tmp_path, SPEC)


def test_a_missing_dataset_is_named(tmp_path):
    assert "./rows.jsonl does not exist" in refusal(tmp_path, asked("{source: ./rows.jsonl}"))


def test_a_missing_column_is_named_with_those_that_there_are(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps({"problem": "1 + 1?", "answer": "2"}) + "\n")
    said = refusal(tmp_path, asked("{source: ./rows.jsonl}"))
    assert "game `facts`: the dataset has no column `question`; it has: answer, problem" in said


def test_a_disk_that_is_too_small_is_told_before_anything_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**20))
    assert f"{tmp_path} has 1 MiB free, and the run is estimated to need " in refusal(tmp_path, SPEC)


FULL = {
    "safetensors": Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    "a file": OSError(28, "No space left on device"),
}


def test_a_disk_that_is_full_while_a_checkpoint_is_saved_loses_nothing(tmp_path, monkeypatch, capsys, finished):
    save = GiftTrainer._save_checkpoint
    full = list(FULL.values())

    def fails(self, model, trial):
        if full and self.steps_done == 2:
            folder = self.job.folder / f"checkpoint-{self.state.global_step}"
            folder.mkdir(exist_ok=True)
            (folder / "model.safetensors").write_bytes(b"a beginning")
            raise full.pop()
        save(self, model, trial)

    monkeypatch.setattr(GiftTrainer, "_save_checkpoint", fails)
    for mode in ("new", "resume", "resume"):
        outcome = here(tmp_path, mode=mode)
        assert outcome.exit_code == 4
        assert outcome.run.status.state == "failed"
        assert "the disk is full" in str(outcome.run.status.reason)
        assert "gift: the disk is full" in capsys.readouterr().err
        assert latest(outcome.run.checkpoints / "nested").state["step"] == 1
    assert_same(here(tmp_path, mode="resume").run, finished.run)


def test_a_disk_that_takes_not_even_the_status_is_one_message_and_loses_nothing(
    tmp_path, monkeypatch, capsys, finished
):
    def fails(self, model, trial):
        def refuse(run, status):
            raise MachineError("the disk is full: status.json could not be written")

        broken.setattr(RunDirectory, "set_status", refuse)
        broken.setattr(RunDirectory, "log", tmp_path / "gone" / "log.txt")
        raise FULL["a file"]

    told = Told()
    with monkeypatch.context() as broken:
        broken.setattr(GiftTrainer, "_save_checkpoint", fails)
        outcome = here(tmp_path, told=told)
    assert outcome.exit_code == 4
    said = [line for line in capsys.readouterr().err.splitlines() if "disk is full" in line or "Error" in line]
    assert said == [
        f"gift: the disk is full: {outcome.run.path} could not be written ([Errno 28] No space left on device). "
        "What was complete before is kept; free some space and resume the run"
    ]
    assert told.lines[-1].startswith("failed; the last checkpoint is whole, go on with: ")
    assert_same(here(tmp_path, mode="resume").run, finished.run)


def test_an_error_that_is_no_full_disk_stays_what_it_is(tmp_path, monkeypatch):
    def fails(self, model, trial):
        raise RuntimeError("a bug")

    monkeypatch.setattr(GiftTrainer, "_save_checkpoint", fails)
    with pytest.raises(RuntimeError, match="a bug"):
        here(tmp_path)


def test_an_error_of_a_stage_is_in_the_log_and_the_status(tmp_path, monkeypatch):
    def fails(self, model, trial):
        raise GiftError("nothing to be done")

    monkeypatch.setattr(GiftTrainer, "_save_checkpoint", fails)
    outcome = here(tmp_path)
    assert outcome.exit_code == 1
    assert outcome.run.log.read_text(encoding="utf-8") == "gift: nothing to be done\n"
    assert outcome.run.status.reason == "nothing to be done"


def test_a_launcher_with_another_number_of_processes_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"started 1 processes, .* planned for 2; say --processes 1"):
        here(tmp_path, sets=["resources.processes=2", "resources.micro_batch_size=2"])


def questions(word, number):
    """Rows of a file. The hash cuts 2 questions into train, 5 into train and test, 12 numbers into train and dev."""
    rows = ({"question": f"{word} {k}?", "answer": str(k)} for k in range(number))
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("word", "number", "words"),
    [
        ("Question", 2, "its dev and test splits have no rows (2 in all in `train` of ./rows.jsonl, "),
        ("Question", 5, "its dev split has no rows (5 in all in `train` of ./rows.jsonl, "),
        ("Number", 12, "its test split has no rows (12 in all in `train` of ./rows.jsonl, "),
    ],
)
def test_a_split_that_would_be_found_empty_after_training_is_named_before_it(tmp_path, word, number, words):
    (tmp_path / "rows.jsonl").write_text(questions(word, number))
    said = refusal(tmp_path, asked("{source: ./rows.jsonl}"))
    assert f"game `facts`: {words}" in said
    assert "give it more rows" in said
    assert ("or a dataset with a split of its own for the test" in said) is ("test" in words.split("no rows")[0])


def test_whoever_plays_on_a_split_without_rows_is_told_its_game(tmp_path):
    (tmp_path / "rows.jsonl").write_text(questions("Question", 5))
    path = tmp_path / "spec.yaml"
    path.write_text(asked("{source: ./rows.jsonl}"))
    (plan,) = api.compile_spec(str(path))
    assert set(seating.table_games(plan, ["facts", "tictactoe"], "test")) == {"facts", "tictactoe"}
    with pytest.raises(MachineError, match="game `facts`: its dev split has no rows"):
        seating.table_games(plan, ["facts", "tictactoe"], "dev")


def test_only_splits_that_are_read_need_rows(tmp_path):
    (tmp_path / "rows.jsonl").write_text(questions("Question", 2))
    path = tmp_path / "spec.yaml"
    path.write_text(asked("{source: ./rows.jsonl}").partition("evaluation:")[0])
    (plan,) = api.compile_spec(str(path))
    preflight.check_machine(plan, lambda name, url: None, None)


def with_splits(folder, dataset, **files):
    (folder / "rows").mkdir()
    for split, text in files.items():
        (folder / "rows" / f"{split}.jsonl").write_text(text)
    return asked(dataset)


OWN_TEST = "{source: ./rows, test_split: test}"


def test_a_test_split_that_is_not_there_is_named_before_anything_begins(tmp_path):
    text = with_splits(tmp_path, OWN_TEST, train=questions("Question", 30), test=questions("Item", 3))
    said = refusal(tmp_path, text, sets=["games.facts.dataset.test_split=tst"])
    assert "game `facts`: split `tst` of the dataset ./rows cannot be loaded" in said


def test_a_row_of_the_test_split_that_holds_no_answer_is_named_before_anything_begins(tmp_path):
    broken = questions("Item", 3) + json.dumps({"question": "Item 4?", "answer": None}) + "\n"
    said = refusal(tmp_path, with_splits(tmp_path, OWN_TEST, train=questions("Question", 30), test=broken))
    assert "game `facts`: column `answer` holds None" in said


def test_one_file_has_no_test_split_of_its_own(tmp_path):
    (tmp_path / "rows.jsonl").write_text(questions("Question", 30))
    said = refusal(tmp_path, asked("{source: ./rows.jsonl, test_split: test}"))
    assert "game `facts`: `dataset.test_split: test` names a split of ./rows.jsonl, which is one file" in said


def test_rows_that_several_splits_are_cut_from_are_loaded_once(tmp_path, monkeypatch):
    loaded = []

    def load(*place):
        loaded.append(place[3])
        return data.load(*place)

    monkeypatch.setattr(seating, "load", load)
    path = tmp_path / "spec.yaml"
    path.write_text(with_splits(tmp_path, OWN_TEST, train=questions("Question", 30), test=questions("Item", 3)))
    (plan,) = api.compile_spec(str(path))
    preflight.check_machine(plan, lambda name, url: None, None)
    assert loaded == ["train", "test"]


def test_a_bug_leaves_its_traceback_in_the_log_and_its_words_in_the_status(tmp_path, monkeypatch):
    def breaks(*_):
        raise ValueError("no such thing\nas this")

    monkeypatch.setattr(stage, "find_start", breaks)
    with pytest.raises(ValueError, match="no such thing"):
        here(tmp_path)
    (run,) = find_runs(tmp_path / "runs", "small")
    log = run.log.read_text(encoding="utf-8")
    assert log.startswith("rank 0, ")
    assert "Traceback (most recent call last)" in log
    assert "in breaks" in log
    assert log.endswith("ValueError: no such thing\nas this\n")
    assert run.status.reason == "ValueError: no such thing"
