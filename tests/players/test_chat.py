"""The chat format: every sampling field is sent, and only a readable answer is one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.players.chat import (
    ChatSettings,
    Failure,
    Reply,
    Tokens,
    masked,
    read_error,
    read_reply,
    shown,
    without_thoughts,
)
from gift_dsl.seat import Message
from tests.players.server import completion

CHAT = ChatSettings("m", 0.5, 0.9, 200)
TALK = (Message("system", "Rules."), Message("user", "Go."), Message("assistant", "3"), Message("user", "Again."))


def reply(**values):
    return read_reply(json.dumps(values).encode())


def test_every_sampling_field_is_sent():
    assert CHAT.body(TALK[1:2]) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Go."}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 200,
        "stream": False,
        "chat_template_kwargs": {"enable_thinking": False},
    }


def test_a_seed_is_sent_where_one_is_given():
    assert ChatSettings("m", 0.5, 1.0, 200, seed=0).body(TALK)["seed"] == 0


@pytest.mark.parametrize(("thinking", "sent"), [("on", {"enable_thinking": True}), ("default", None)])
def test_thinking_is_switched_through_the_chat_template(thinking, sent):
    assert ChatSettings("m", 0.5, 1.0, 200, thinking=thinking).body(TALK).get("chat_template_kwargs") == sent


def test_a_system_prompt_of_its_own_replaces_that_of_the_game():
    messages = ChatSettings("m", 0.5, 1.0, 200, system="Play badly.").body(TALK)["messages"]
    assert [item["role"] for item in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == "Play badly."


def test_extra_fields_are_merged_and_win():
    extra = {"top_k": 20, "top_p": 0.8, "chat_template_kwargs": {"reasoning_effort": "low"}}
    body = ChatSettings("m", 0.5, 1.0, 200, extra_body=extra).body(TALK)
    assert body["top_k"] == 20
    assert body["top_p"] == 0.8
    assert body["chat_template_kwargs"] == {"enable_thinking": False, "reasoning_effort": "low"}


def test_a_completion_is_read_with_its_tokens():
    assert read_reply(completion(" <answer>3</answer>\n").encode()) == Reply("<answer>3</answer>", Tokens(20, 5))


def test_a_message_may_come_in_parts():
    parts = [{"type": "text", "text": "<answer>"}, {"type": "image"}, 7, {"type": "text", "text": "3</answer>"}]
    assert read_reply(completion(parts).encode()) == Reply("<answer>3</answer>", Tokens(20, 5))


@pytest.mark.parametrize(
    "usage",
    [
        None,
        3,
        {},
        {"prompt_tokens": None, "completion_tokens": 1},
        {"prompt_tokens": -1, "completion_tokens": 1},
        {"prompt_tokens": 1e999, "completion_tokens": 1},
    ],
)
def test_tokens_that_nobody_counted_are_unknown(usage):
    assert reply(choices=[{"message": {"content": "3"}}], usage=usage) == Reply("3", None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"{", "malformed"),
        (b"[" * 200_000, "malformed"),
        (b"[]", "malformed"),
        (b"{}", "malformed"),
        (b'{"choices": []}', "malformed"),
        (b'{"choices": {}}', "malformed"),
        (b'{"choices": null}', "malformed"),
        (b'{"choices": [{"message": {"content": 3}}]}', "malformed"),
        (b'{"choices": [{"message": {"content": null}}]}', "empty"),
        (b'{"choices": [{"message": {"content": " \\n"}}]}', "empty"),
        (b'{"choices": [{"message": {"content": "<think>so"}}]}', "empty"),
        (b'{"error": {"message": "provider is down"}}', "error_reply"),
    ],
)
def test_what_cannot_be_read_is_a_failure_worth_another_try(body, kind):
    failure = read_reply(body)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.is_transient, failure.is_free) == (kind, True, False)


@pytest.mark.parametrize("said", [None, "", "<think>so long", "<think>so</think> "])
@pytest.mark.parametrize(("end", "is_cut"), [("stop", False), ("length", True)])
def test_an_empty_answer_of_who_is_measured_is_an_answer(said, end, is_cut):
    body = completion(said, finish_reason=end).encode()
    assert read_reply(body, takes_empty=True) == Reply("", Tokens(20, 5), is_cut)
    failure = read_reply(body)
    assert isinstance(failure, Failure)
    assert ("token limit" in failure.detail) == is_cut


@pytest.mark.parametrize("end", [None, "content_filter", ["stop"]])
def test_an_answer_that_the_server_kept_back_is_a_failure_of_whoever_is_asked(end):
    body = completion("", finish_reason=end).encode()
    assert isinstance(read_reply(body, takes_empty=True), Failure)


def test_a_text_without_its_end_is_known_as_such():
    assert read_reply(completion("<answer>3", finish_reason="length").encode()).is_cut
    assert not read_reply(completion("<answer>3").encode()).is_cut


@given(
    st.binary(max_size=40)
    | st.text(max_size=40).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda values: (
            st.lists(values, max_size=3)
            | st.dictionaries(
                st.sampled_from(["choices", "message", "content", "usage", "error", "text"]), values, max_size=3
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_is_too_strange_to_be_read(body):
    for read in (read_reply(body), read_error(500, body, None)):
        assert read.text if isinstance(read, Reply) else read.detail.isprintable()


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
def test_a_status_that_may_pass_is_worth_another_try(status):
    assert read_error(status, b"", 2.0) == Failure(
        f"http_{status}", f"HTTP {status}: no message", is_transient=True, is_free=True, retry_after_s=2.0
    )


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 422])
def test_a_status_that_will_not_pass_is_not(status):
    assert not read_error(status, b"", None).is_transient


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "no such model"}},
        {"error": "no such model"},
        {"message": "no such model"},
        {"detail": "no such model"},
        {"detail": " ", "message": "no such model"},
    ],
)
def test_a_server_is_quoted_wherever_it_puts_its_message(body):
    assert read_error(404, json.dumps(body).encode(), None).detail == "HTTP 404: no such model"


def test_any_other_body_is_quoted_on_one_short_line():
    assert read_error(404, b"<h1>\nNot \x1b[31mfound</h1>", None).detail == "HTTP 404: <h1> Not [31mfound</h1>"
    assert len(shown("x" * 5000)) == 301


def test_a_server_that_does_not_know_the_template_switch_is_explained():
    failure = read_error(400, b'{"error": {"message": "Unrecognized argument: chat_template_kwargs"}}', None)
    assert failure.detail.endswith("(`thinking: default` does not send this field)")


def test_a_redirect_says_that_it_is_not_followed():
    assert "redirects are not followed" in read_error(307, b"", None).detail


@pytest.mark.parametrize(
    "text",
    [
        "<think>hm</think>3",
        "<THINK>hm\n</THINK>\n3",
        "hm</think>3",
        "3<think>was that right?</think>",
        "3 <think>was that ri",
        "<think>a</think><think>b</think> 3",
        "3",
    ],
)
def test_reasoning_is_not_part_of_a_reply(text):
    assert without_thoughts(text) == "3"


def test_a_key_is_masked():
    assert masked(b"Incorrect key: sk-123.", "sk-123") == b"Incorrect key: ***."
    assert masked(b"text", None) == b"text"
