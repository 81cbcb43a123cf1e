"""A person at the terminal."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from gift_dsl.errors import GiftError
from gift_dsl.games.game import FreeText, Legal
from gift_dsl.players.answer import tagged
from gift_dsl.seat import Message, Turn

Ask = Callable[[str], str]
"""Shows a text and returns the line that the person typed; raises EOFError when nobody will type any more."""

_MOST_LISTED: Final = 40


@dataclass(frozen=True, slots=True)
class HumanPlayer:
    """Shows what is new and asks until the answer is legal; a typing error costs nothing.

    Attributes:
        ask: how to ask, e.g. `input`. It is called in a thread of its own, so that other episodes go on.
    """

    name: str
    ask: Ask
    waits: bool = True

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The action that the person typed.

        Raises:
            GiftError: the input has ended.
        """
        question = f"{_news(turn.messages)}\n\n{_choices(turn.legal)}> "
        while True:
            try:
                typed = await _in_thread(self.ask, question)
            except EOFError as error:
                raise GiftError(f"`{self.name}` has left: the input ended before `{turn.game}` did") from error
            action, problem = _read(typed.strip(), turn)
            if problem is None:
                return tagged(turn.tag, action)
            question = f"{problem}\n> "


async def _in_thread(ask: Ask, question: str) -> str:
    """Ask in a daemon thread: unlike one of an executor it holds nobody up who wants to leave the program."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def settle(typed: str | None, error: Exception | None) -> None:
        if answer.done():
            return
        if error is None:
            answer.set_result(typed or "")
        else:
            answer.set_exception(error)

    def work() -> None:
        try:
            result: tuple[str | None, Exception | None] = (ask(question), None)
        except Exception as error:  # noqa: BLE001  # it is raised where the answer is awaited
            result = (None, error)
        with suppress(RuntimeError):  # the loop was closed while the person thought
            loop.call_soon_threadsafe(settle, *result)

    threading.Thread(target=work, name="gift-human", daemon=True).start()
    return await answer


def _news(messages: Sequence[Message]) -> str:
    """What was said since the person's last turn."""
    said = [index for index, message in enumerate(messages) if message.role == "assistant"]
    return "\n\n".join(message.content for message in messages[said[-1] + 1 if said else 0 :])


def _choices(legal: Legal) -> str:
    """What to type; the answer tag is put around it for the person."""
    if isinstance(legal, FreeText):
        return (
            f"Type your answer without tags ({'one line, ' if legal.one_line else ''}up to {legal.max_chars} letters)"
        )
    shown = ", ".join(legal[:_MOST_LISTED]) + (", …" if len(legal) > _MOST_LISTED else "")
    return f"Type one of these without tags: {shown}"


def _read(typed: str, turn: Turn) -> tuple[str, str | None]:
    """The action, and what is wrong with it."""
    if isinstance(turn.legal, FreeText):
        from gift_dsl.games.free_text import reason_against

        reason = reason_against(turn.legal, typed)
        return typed, None if reason is None else f"That cannot be played: {reason}."
    action = next((action for action in turn.legal if action.casefold() == typed.casefold()), None)
    return (action, None) if action is not None else (typed, f"`{typed}` cannot be played now. {_choices(turn.legal)}")
