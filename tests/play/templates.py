"""Codecs with the chat templates of real families, over a small byte-level tokenizer that is trained on the spot."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gift_dsl.play.codec import TemplateCodec, TokenizerFunctions

CHATML = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{{ '<|begin_of_text|>' }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ '<bos>' }}{% for message in messages %}"
    "{% if message.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% set role = 'model' if message.role == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
# Thoughts of turns before the last user's message are left out of the rendering, as Qwen3 does.
STRIPPING = (
    "{% set ns = namespace(last=0) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{% set content = message.content %}"
    "{% if message.role == 'assistant' and loop.index0 < ns.last and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# With thinking switched off an empty thought opens the turn, and is left out of earlier ones.
EMPTY_THOUGHT = (
    "{% set ns = namespace(last=0) %}{% for message in messages %}"
    "{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% if message.role == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)
# The end of a turn tells how long it was.
COUNTING = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + message.content | length | string }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Every turn has a number, so what follows a turn depends on how many there were.
NUMBERED = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + loop.index | string + '\n' }}"
    "{{ message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# An earlier turn is followed by its length, the last one is not.
LATE_COUNTING = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' }}"
    "{% if not loop.last %}{{ message.content | length | string }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Earlier turns of the assistant are marked as such.
MARKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role }}"
    "{% if message.role == 'assistant' and not loop.last %}{{ ' before' }}{% endif %}"
    "{{ '\n' + message.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

FAMILIES = {
    "chatml": (CHATML, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), ("<|im_end|>", "<|endoftext|>")),
    "llama-3": (
        LLAMA_3,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),
        ("<|eot_id|>", "<|end_of_text|>"),
    ),
    "gemma": (GEMMA, ("<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>"), ("<end_of_turn>", "<eos>")),
    "stripping": (STRIPPING, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), ("<|im_end|>", "<|endoftext|>")),
    "empty-thought": (EMPTY_THOUGHT, ("<|im_start|>", "<|im_end|>", "<|endoftext|>"), ("<|im_end|>", "<|endoftext|>")),
    "late-counting": (LATE_COUNTING, ("<|im_start|>", "<|im_end|>"), ("<|im_end|>",)),
    "marking": (MARKING, ("<|im_start|>", "<|im_end|>"), ("<|im_end|>",)),
    "counting": (COUNTING, ("<|im_start|>", "<|im_end|>"), ("<|im_end|>",)),
    "numbered": (NUMBERED, ("<|im_start|>", "<|im_end|>"), ("<|im_end|>",)),
}
APPENDABLE = ("chatml", "llama-3", "gemma", "stripping", "empty-thought")
CORPUS = (
    "user\nassistant\nsystem\nmodel\n <think>\n</think>\n\n<answer> </answer>\n",
    "You are playing a game. The board now: . X O It is your turn. Legal actions: 1 2 3 4 5 6 7 8 9",
    "Hello. Go on. It is yes no OK, because the answer is not known. Turn 1, 2 left.\n\n",
)


@cache
def codec_of(family):
    """The codec of a family; its tokenizer merges about 200 pairs."""
    template, specials, ends = FAMILIES[family]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=450, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in specials])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ends[0])
    fast.chat_template = template

    def render(messages, open_turn):
        chat = [{"role": message.role, "content": message.content} for message in messages]
        return fast.apply_chat_template(chat, tokenize=False, add_generation_prompt=open_turn)

    return TemplateCodec(
        TokenizerFunctions(
            render=render,
            encode=lambda text: fast(text, add_special_tokens=False)["input_ids"],
            encode_plain=lambda text: fast(text, add_special_tokens=False, split_special_tokens=True)["input_ids"],
            decode=lambda ids: fast.decode(ids, skip_special_tokens=True),
            special_texts=frozenset(specials),
            end_of_turn_ids=frozenset(fast.convert_tokens_to_ids(list(ends))),
        )
    )


def special_id(family, text):
    """The id of a special token."""
    return codec_of(family)._functions.encode(text)[0]
