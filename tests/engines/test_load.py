"""From a folder to an engine, or a message that says what is missing."""

from __future__ import annotations

import asyncio
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gift_dsl.engines.load import find_source, load_codec, load_model, load_policy, load_tokenizer, make_codec
from gift_dsl.errors import MachineError
from gift_dsl.plan import ModelPlan
from gift_dsl.play.template import AppendOnly, check_append_only
from gift_dsl.seat import Message
from tests.engines.small import assert_as_alone, complete, make_model, request_of
from tests.play.templates import CHATML, CORPUS, EMPTY_THOUGHT, LLAMA_3

TEMPLATES = {
    "chatml": (CHATML, ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama-3": (
        LLAMA_3,
        ("<|end_of_text|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
    ),
}
TALK = (Message("system", "Be brief."), Message("user", "Turn 1, 2 left."))


def model_plan(source="./model", **changes):
    values = {
        "source": source,
        "revision": None,
        "from_run": None,
        "from_step": None,
        "tokenizer": None,
        "chat_template": None,
        "compute": "fp32",
        "weights": "fp32",
        "lora": None,
        "gradient_checkpointing": False,
        "attention": "sdpa",
        "tiny": None,
        "print": None,
    }
    return ModelPlan(**{**values, **changes})


def make_tokenizer(template, special, end):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    fast.chat_template = template
    return fast


def save(folder, family="chatml", kind="qwen2", **changes):
    """A model and its tokenizer as the hub has them: what ends a turn is not what ends a text."""
    template, special, _ = TEMPLATES[family]
    tokenizer = make_tokenizer(template, special, special[0])
    tokenizer.save_pretrained(folder)
    make_model(kind, vocab_size=len(tokenizer), **changes).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {
        "chatml": save(root / "chatml"),
        "llama-3": save(root / "llama", "llama-3", kind="llama"),
    }


@pytest.mark.parametrize("family", TEMPLATES)
def test_a_local_folder_becomes_an_engine(folders, family):
    engine = load_policy(model_plan(), str(folders[family]))
    template = check_append_only(engine.codec)
    assert isinstance(template, AppendOnly)
    assert template.rewrites is None
    tokenizer = load_tokenizer(model_plan(), str(folders[family]))
    assert tokenizer.convert_tokens_to_ids(TEMPLATES[family][2]) in engine.codec.end_of_turn_ids
    assert tokenizer.eos_token_id in engine.codec.end_of_turn_ids
    opening = engine.codec.render(TALK, open_turn=True)
    requests = [request_of(opening, name) for name in range(3)]
    assert_as_alone(engine.model, requests, complete(engine, requests), engine.codec.end_of_turn_ids)


@pytest.mark.parametrize("family", TEMPLATES)
def test_what_the_codec_renders_is_what_the_tokenizer_renders(folders, family):
    tokenizer, codec = (
        load_tokenizer(model_plan(), str(folders[family])),
        load_codec(model_plan(), str(folders[family])),
    )
    chat = [{"role": message.role, "content": message.content} for message in TALK]
    expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
    assert list(codec.render(TALK, open_turn=True)) == expected
    assert codec.decode(codec.encode("The board now: . X O")) == "The board now: . X O"


def test_a_control_token_in_a_text_stays_text(folders):
    codec = load_codec(model_plan(), str(folders["chatml"]))
    (end,) = load_tokenizer(model_plan(), str(folders["chatml"])).convert_tokens_to_ids(["<|im_end|>"])
    honest = codec.render([Message("user", "go")], open_turn=True).count(end)
    assert codec.render([Message("user", "go <|im_end|>")], open_turn=True).count(end) == honest


def test_the_ends_that_a_checkpoint_declares_end_a_turn(tmp_path):
    folder = save(tmp_path)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4], "temperature": 0.1}))
    assert load_codec(model_plan(), str(folder)).end_of_turn_ids > {3, 4}
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert load_codec(model_plan(), str(folder)).end_of_turn_ids > {7}


def test_the_template_is_told_whether_to_think():
    asked = "{% if enable_thinking %}THINK {% endif %}" + CHATML
    tokenizer = make_tokenizer(asked, *TEMPLATES["chatml"][1:])
    texts = {
        thinking: tokenizer.decode(make_codec(tokenizer, thinking=thinking).render(TALK, open_turn=True))
        for thinking in (False, True)
    }
    assert {thinking: text.startswith("THINK") for thinking, text in texts.items()} == {False: False, True: True}


def test_an_empty_thought_of_the_template_is_part_of_the_prompt():
    codec = make_codec(make_tokenizer(EMPTY_THOUGHT, *TEMPLATES["chatml"][1:]))
    assert codec.decode(codec.render(TALK, open_turn=True)).endswith("<think>\n\n</think>\n\n")


def with_rows(folder, number, kind="qwen2"):
    """The model of a folder with another one, that embeds so many ids."""
    make_model(kind, vocab_size=number).save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_with_more_ids_than_the_model_embeds_is_refused_with_both_numbers(tmp_path):
    number = len(load_tokenizer(model_plan(), str(save(tmp_path))))
    with pytest.raises(MachineError) as raised:
        load_policy(model_plan(), with_rows(tmp_path, number - 20))
    said = str(raised.value)
    assert f"has ids up to {number - 1}, and the model Qwen2ForCausalLM embeds {number - 20}, so up to" in said
    assert "20 of its ids have no weights" in said
    assert "`model.tokenizer`" in said


def test_a_model_may_embed_more_ids_than_its_tokenizer_has(tmp_path):
    load_policy(model_plan(), with_rows(save(tmp_path), 400))


@pytest.mark.parametrize("is_written", [False, True])
def test_a_special_token_without_weights_is_refused_only_where_a_prompt_or_a_batch_holds_it(tmp_path, is_written):
    tokenizer = load_tokenizer(model_plan(), str(save(tmp_path)))
    number = len(tokenizer)
    new = AddedToken("<|image|>", special=True)
    tokenizer.add_special_tokens({"pad_token": new} if is_written else {"additional_special_tokens": [new]})
    tokenizer.save_pretrained(tmp_path)
    if is_written:
        with pytest.raises(MachineError, match="1 of its ids have no weights"):
            load_policy(model_plan(), with_rows(tmp_path, number))
    else:
        load_policy(model_plan(), with_rows(tmp_path, number))


def test_a_plan_may_bring_its_own_template_and_tokenizer(folders, tmp_path):
    save(tmp_path / "model")
    own = model_plan(chat_template=CHATML.replace("assistant", "helper"), tokenizer=str(folders["chatml"]))
    codec = load_codec(own, str(tmp_path / "model"))
    assert "helper" in codec.decode(codec.render(TALK, open_turn=True))


def test_weights_are_stored_as_the_plan_says(folders):
    source = str(folders["chatml"])
    assert load_model(model_plan(), source).dtype == torch.float32
    assert load_model(model_plan(weights="bf16"), source).dtype == torch.bfloat16
    eager = load_policy(model_plan(attention="eager"), source)
    assert eager.model.config._attn_implementation == "eager"
    requests = [request_of(range(9, 9 + size), size) for size in (3, 8)]
    assert_as_alone(eager.model, requests, complete(eager, requests), eager.codec.end_of_turn_ids)


def test_weights_in_bf16_generate_and_score(folders):
    engine = load_policy(model_plan(weights="bf16", compute="bf16"), str(folders["chatml"]))
    completions = complete(engine, [request_of(range(9, 9 + size), size) for size in (3, 8)])
    assert all(one.ids and max(one.logprobs) <= 0 for one in completions)
    ((total, _),) = asyncio.run(engine.score([(9, 8)], [(7, 6)]))
    assert total < 0


def test_a_relative_folder_starts_at_that_of_the_spec(tmp_path):
    save(tmp_path / "model")
    assert find_source(model_plan("./model"), tmp_path) == str(tmp_path / "model")
    assert find_source(model_plan("org/name"), tmp_path) == "org/name"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(MachineError, match=rf"model folder \./gone does not exist \(looked for {tmp_path}/gone\)"):
        find_source(model_plan("./gone"), tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MachineError, match=r"empty holds no model in Hugging Face's format: there is no config\.json"):
        find_source(model_plan("./empty"), tmp_path)


def test_files_that_are_missing_are_named(tmp_path):
    folder = save(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(MachineError, match=f"the model {folder} cannot be loaded"):
        load_model(model_plan(), str(folder))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(MachineError, match=f"the tokenizer {folder} cannot be loaded"):
        load_tokenizer(model_plan(), str(folder))


@pytest.mark.parametrize("length", [0, 1000], ids=["empty", "cut short"])
def test_a_file_of_weights_that_was_cut_short_is_one_message(tmp_path, length):
    folder = save(tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(MachineError, match=f"the model {folder} cannot be loaded: "):
        load_model(model_plan(), str(folder))


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path):
    folder = save(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MachineError, match=r"1 weights are missing, among them model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(model_plan(), str(folder))


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path):
    folder = save(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(MachineError, match=r"no chat template: .*`model\.chat_template`"):
        load_policy(model_plan(), str(folder))
    assert load_codec(model_plan(chat_template=CHATML), str(folder)).end_of_turn_ids


def test_a_template_that_cannot_render_is_refused():
    broken = "{{ raise_exception('Conversation roles must alternate') }}"
    with pytest.raises(MachineError, match="cannot render a conversation: Conversation roles must alternate"):
        make_codec(make_tokenizer(broken, *TEMPLATES["chatml"][1:]))


def test_a_template_that_ends_no_turn_is_refused():
    endless = "{% for message in messages %}{{ message.content }}{% endfor %}"
    tokenizer = make_tokenizer(endless, (), None)
    with pytest.raises(MachineError, match="nothing ends a turn"):
        make_codec(tokenizer)


def test_an_attention_that_is_not_installed_is_refused(folders):
    with pytest.raises(MachineError, match=r"`model\.attention: flash_attention_2` needs what is not installed"):
        load_model(model_plan(attention="flash_attention_2"), str(folders["chatml"]))


def test_a_model_that_is_not_on_this_machine_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MachineError, match=r"the model org/no-such-model cannot be loaded"):
        load_model(model_plan("org/no-such-model"), "org/no-such-model")
