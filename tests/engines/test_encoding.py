"""Texts are encoded by a tokenizer's own means: the same ids as transformers makes of them, in a third of the time."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.engines.load import make_codec
from gift_dsl.engines.tiny import CHAT_TEMPLATE, END, make_tokenizer
from gift_dsl.play.template import check_append_only
from gift_dsl.seat import Message
from tests.engines.test_load import TEMPLATES
from tests.engines.test_load import make_tokenizer as make_bpe

WORDS = ("OK", "no", "Hello", "NUMBER", "What", "is", "7", "8", "+", "?", "<answer>", "</answer>", ".")
SPECIAL = sorted({token for _, tokens, _ in TEMPLATES.values() for token in tokens} | {END})
texts = st.lists(st.sampled_from([*WORDS, *SPECIAL, "\n", "Zürich", "日本", "\u200d", "{{ x }}"]), max_size=8).map(
    " ".join
)


@cache
def tokenizer_of(family):
    if family == "words":
        tokenizer = make_tokenizer(WORDS, 512)
        tokenizer.chat_template = CHAT_TEMPLATE
        return tokenizer
    template, special, _ = TEMPLATES[family]
    return make_bpe(template, special, special[0])


every_family = pytest.mark.parametrize("family", [*TEMPLATES, "words"])


@every_family
@settings(max_examples=40, deadline=None)
@given(text=texts)
def test_a_text_has_the_ids_that_transformers_gives_it(family, text):
    tokenizer = tokenizer_of(family)
    codec = make_codec(tokenizer)
    for _ in range(2):  # one way of reading special tokens leaves nothing behind for the other
        # as some files of the hub have it: it would cut and fill every prompt
        tokenizer.backend_tokenizer.enable_truncation(max_length=4)
        tokenizer.backend_tokenizer.enable_padding(length=600)
        plain, special = codec.encode(text), codec._functions.encode(text)
        assert list(plain) == tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert list(special) == tokenizer(text, add_special_tokens=False)["input_ids"]


@every_family
@settings(max_examples=25, deadline=None)
@given(said=st.lists(texts.filter(str.strip), min_size=2, max_size=2), system=st.sampled_from(["", "Rules ."]))
def test_a_conversation_has_the_ids_that_transformers_gives_it(family, said, system):
    tokenizer = tokenizer_of(family)
    codec, template = make_codec(tokenizer), check_append_only(make_codec(tokenizer))
    harmless = [text if not any(token in text for token in SPECIAL) else "Hello" for text in said]
    first = [*([Message("system", system)] if system else []), Message("user", harmless[0])]
    whole = [*first, Message("assistant", "OK"), Message("user", harmless[1])]
    for messages in (first, whole):
        chat = [{"role": message.role, "content": message.content} for message in messages]
        expected = tokenizer.apply_chat_template(chat, add_generation_prompt=True)["input_ids"]
        assert list(codec.render(messages, open_turn=True)) == expected
    # what a transcript appends turn by turn is what the whole conversation has at its end
    appended = (*template.open(first), *codec.encode("OK"), *template.close, *template.next_turn(harmless[1]))
    assert list(appended) == expected


def test_another_way_of_encoding_is_left_to_its_class():
    class Odd(type(tokenizer_of("chatml"))):
        def _encode_plus(self, text, **options):
            return super()._encode_plus(f"{text}!", **options)

    tokenizer = Odd(tokenizer_object=tokenizer_of("chatml").backend_tokenizer, eos_token="<|endoftext|>")
    tokenizer.chat_template = tokenizer_of("chatml").chat_template
    assert make_codec(tokenizer).encode("no") == tuple(tokenizer("no")["input_ids"])
    assert make_codec(tokenizer).decode(make_codec(tokenizer).encode("no")) == "no!"
