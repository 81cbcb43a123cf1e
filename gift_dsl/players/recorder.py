"""A record of what HTTP players said, and players that answer from it: for exact resumption, and for tests."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gift_dsl.errors import MachineError
from gift_dsl.plan import digest
from gift_dsl.players.chat import ChatSettings, shown
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.seat import PlayerFault, Turn

Said = str | PlayerFault


def request_key(chat: ChatSettings, turn: Turn, rng: random.Random) -> str:
    """sha256 of a request: model, sampling, messages, and which attempt it is.

    The attempt is the first 64 bits of the turn's own stream, so members of a group that ask the same thing have
    different keys, and have one key where their noise is common. The server's address is no part of it.
    """
    return digest("gift-request/1", {"body": chat.body(turn.messages), "attempt": f"{rng.getrandbits(64):016x}"})


class RecordStore:
    """One JSON line for each answer, appended as it comes: {key, player, text} or {key, player, fault}.

    Texts stay in the file; only places are kept in memory. A line that a crash has cut is dropped, every other line
    that cannot be read is an error. Use it as a context manager.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it.

        Raises:
            MachineError: a line of it cannot be read.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+b")
        try:
            self._places = self._index()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._places)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def get(self, key: str) -> Said | None:
        """What was answered to a request; None if it was never made."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        self._file.seek(place)
        row = json.loads(self._file.readline())
        fault = row.get("fault")
        return row["text"] if fault is None else PlayerFault(row["player"], fault["reason"], endpoint=fault["endpoint"])

    def put(self, key: str, player: str, said: Said) -> Said:
        """Append an answer and hand it to the operating system; of two for one request the first is kept.

        Returns:
            The answer that is kept.
        """
        kept = self.get(key)
        if kept is not None:
            return kept
        answer: Mapping[str, Any] = {"text": said}
        if isinstance(said, PlayerFault):
            answer = {"fault": {"reason": said.reason, "endpoint": said.endpoint}}
        line = json.dumps({"key": key, "player": player, **answer}, ensure_ascii=False) + "\n"
        place = self._file.seek(0, 2)
        self._file.write(line.encode())
        self._file.flush()
        self._places[bytes.fromhex(key)] = place
        return said

    def forget_faults(self) -> None:
        """Drop every kept failure, so that its request is made again; for whoever stopped because of them."""
        self._file.seek(0)
        kept = [line for line in self._file if "fault" not in json.loads(line)]
        draft = self.path.with_name(f".{self.path.name}")
        draft.write_bytes(b"".join(kept))
        self._file.close()
        draft.replace(self.path)
        self._file = self.path.open("a+b")
        self._places = self._index()

    def _index(self) -> dict[bytes, int]:
        places: dict[bytes, int] = {}
        place = self._file.seek(0)
        for number, line in enumerate(iter(self._file.readline, b""), start=1):
            if not line.endswith(b"\n"):
                self._file.truncate(place)
                break
            key = _key_of(line)
            if key is None:
                raise MachineError(f"{self.path}:{number} is not a recorded answer: {shown(line)}")
            places[key] = place
            place += len(line)
        return places


def _key_of(line: bytes) -> bytes | None:
    """The key of a recorded answer; None where a line is none."""
    try:
        row = json.loads(line)
        said = row["fault"]["reason"] if "fault" in row else row["text"]
        key = bytes.fromhex(row["key"])
    except (KeyError, TypeError, ValueError):
        return None
    return key if isinstance(said, str) and isinstance(row.get("player"), str) else None


@dataclass(frozen=True, slots=True, eq=False)
class Recorder:
    """A player whose every answer is kept. What was kept already is answered from the record, faults included.

    So a run that is resumed at a checkpoint hears again what it heard after that checkpoint before it stopped.
    """

    player: OpenAIPlayer
    store: RecordStore
    waits: bool = True
    _asking: dict[str, asyncio.Lock] = field(default_factory=dict[str, asyncio.Lock], init=False, repr=False)

    @property
    def name(self) -> str:
        """That of the player."""
        return self.player.name

    def with_temperature(self, temperature: float) -> Recorder:
        """The same player, asking for other sampling: another request."""
        return replace(self, player=self.player.with_temperature(temperature))

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The kept answer, or a new one that is kept.

        Raises:
            PlayerFault: the player gave no answer, now or when it was first asked.
            LimitReached: the budget does not allow another call. This is not kept.
        """
        key = request_key(self.player.chat, turn, rng)
        # Requests with one key have one answer, so the second of them waits for the first.
        async with self._asking.setdefault(key, asyncio.Lock()):
            try:
                said = self.store.get(key)
                if said is None:
                    said = self.store.put(key, self.name, await self._ask(turn, rng))
            finally:
                self._asking.pop(key, None)
        return _answer(said)

    async def _ask(self, turn: Turn, rng: random.Random) -> Said:
        try:
            return await self.player.act(turn, rng)
        except PlayerFault as fault:
            return fault


@dataclass(frozen=True, slots=True, eq=False)
class Replayer:
    """Answers from a record alone: no network, no key.

    Attributes:
        chat: settings of the recorded player.
    """

    name: str
    chat: ChatSettings
    store: RecordStore
    waits: bool = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The recorded answer.

        Raises:
            PlayerFault: that is what was recorded.
            MachineError: this request was never recorded.
        """
        key = request_key(self.chat, turn, rng)
        said = self.store.get(key)
        if said is None:
            last = shown(turn.messages[-1].content) if turn.messages else "no message"
            raise MachineError(
                f"{self.store.path} holds no answer of `{self.name}` ({self.chat.model}) to request {key[:12]} of "
                f"`{turn.game}`: {last}"
            )
        return _answer(said)


def _answer(said: Said) -> str:
    if isinstance(said, PlayerFault):
        raise said
    return said
