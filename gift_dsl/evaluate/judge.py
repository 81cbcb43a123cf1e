"""CommonGen: is a model's sentence at least as good as one that a person wrote? A judge says so, pair by pair.

The protocol is that of AllenAI's CommonGen-Eval (pairwise against human references, a tie counts for the model) as
the GIFT paper uses it: one reference drawn for each item. `order: random` shows the pair in one random order; `both`
asks twice, which takes the judge's preference for a place out of the score and measures it.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from gift_dsl.errors import GiftError
from gift_dsl.evaluate import gift_v1
from gift_dsl.evaluate.subject import ask
from gift_dsl.plan import digest
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.players.together import all_of
from gift_dsl.rng import stream
from gift_dsl.seat import Player, PlayerFault

Choice = Literal["A", "B", "tie"]
Verdict = Literal["win", "tie", "lose"]
Order = Literal["random", "both"]

_MAX_TRIES: Final = 3
_UNDER_WAY: Final = 64
_MOST_UNREADABLE: Final = 0.2
_SAID: Final = r"[\s\"'*`(\[]*(?:(?i:model|sentence)\s+)?[\"'*`(\[]*(?P<said>A|B|(?i:tie))(?![A-Za-z0-9])"
_END: Final = r"[\"'*`)\]]*(?:\s*$|\s*[.,:;\n–—-])"
_OPENS: Final = re.compile(rf"^{_SAID}{_END}")
_DECLARED: Final = re.compile(rf"\b(?i:answer|choice|verdict|winner)[\"'*`]*(?:\s+is\b|\s*:)+{_SAID}{_END}")
_SENTENCE: Final = re.compile(
    r"^(?:(?i:it is|it's) a (?P<tie>(?i:tie))|(?:(?i:model|sentence)\s+)?(?P<said>[AB]) is (?:the )?better)\b"
)
_PARTS: Final = {"N": "noun", "V": "verb", "A": "adjective"}

_PROMPT: Final = """Two writers were given the same concepts and asked for one short, simple sentence that uses all of them and describes a common scene of daily life.

Concepts: {concepts}

A: {first}

B: {second}

Which sentence is better?
- It should describe an everyday scene, and use every concept naturally and as the stated part of speech.
- A sentence that uses all concepts is better than one that does not.
- Of two sentences about the same scene the simpler and shorter one is better.
- If neither is better, it is a tie.

Reply with one word and nothing else: A, B or tie."""  # noqa: E501 - the lines of a prompt are its own


@dataclass(frozen=True, slots=True)
class Pair:
    """What is judged.

    Attributes:
        key: names the item.
        concepts: with parts of speech (`dog_N`).
        candidate: the model's sentence.
        reference: a person's.
    """

    key: str
    concepts: tuple[str, ...]
    candidate: str
    reference: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of a pair.

    Attributes:
        verdicts: for the candidate, one an order that was asked; None where the judge said nothing readable.
        replies: its words, in the same order; why there are none where it gave no reply.
        places: where the candidate stood, in the same order; the first one was drawn.
        is_first_fault: whether the first of `replies` is no reply: the judge's endpoint failed.
    """

    verdicts: tuple[Verdict | None, ...]
    replies: tuple[str, ...]
    places: tuple[Literal["A", "B"], ...]
    is_first_fault: bool = False

    @property
    def score(self) -> float | None:
        """Mean of 1 for a win or a tie and 0 for a loss; None where a verdict is missing."""
        known = [verdict for verdict in self.verdicts if verdict is not None]
        return sum(one != "lose" for one in known) / len(known) if len(known) == len(self.verdicts) else None

    @property
    def is_consistent(self) -> bool | None:
        """Whether both orders brought the same verdict; None where only one was asked or one is missing."""
        return None if len(self.verdicts) < 2 or None in self.verdicts else len(set(self.verdicts)) == 1

    @property
    def gift_v1_verdict(self) -> Verdict | None:
        """What the paper's script makes of the first reply: all but the candidate's letter and `tie` is a loss.

        None where there is no reply: words about a failure of the endpoint are not the judge's.
        """
        if self.is_first_fault:
            return None
        said = gift_v1.read_verdict(self.replies[0])
        return "tie" if said == "tie" else "win" if said == self.places[0] else "lose"


class Said(NamedTuple):
    """What a judge said of two sentences.

    Attributes:
        reply: its words; why there are none where it gave no reply.
        choice: what they mean; None where they are no verdict.
        is_fault: whether there is no reply.
    """

    reply: str
    choice: Choice | None
    is_fault: bool = False


class Judge(Protocol):
    """Compares two sentences."""

    @property
    def name(self) -> str:
        """Stands beside every score."""
        ...

    @property
    def is_model(self) -> bool:
        """Whether its scores may be called CommonGen: False of the offline stand-in."""
        ...

    async def compare(self, concepts: Sequence[str], first: str, second: str, key: str) -> Said:
        """What it says of sentence A (`first`) and B (`second`)."""
        ...


class ReplyCache:
    """What judges said, one JSON line each, by (judge, prompt): nobody pays twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._replies = dict(_cached(path))

    def get(self, key: str) -> str | None:
        """The reply of a key; None if there is none."""
        return self._replies.get(key)

    def put(self, key: str, reply: str) -> None:
        """Keep a reply and hand it to the operating system."""
        self._replies[key] = reply
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # a line break first: a line that a crash has cut must not swallow this one
            file.write("\n" + json.dumps({"key": key, "reply": reply}, ensure_ascii=False) + "\n")


class ModelJudge:
    """A model behind a chat API.

    A reply that is no verdict is asked for again, at most `_MAX_TRIES` times in all; only readable ones are cached.

    Args:
        player: who is asked.
        seed: of a player that draws by itself.
        cache: of replies; None: none.
    """

    is_model = True

    def __init__(self, player: Player, seed: int, cache: ReplyCache | None = None) -> None:
        self._player, self._seed, self._cache = player, seed, cache

    @property
    def name(self) -> str:
        """The model as its server knows it, where that is known."""
        return self._player.chat.model if isinstance(self._player, OpenAIPlayer) else self._player.name

    async def compare(self, concepts: Sequence[str], first: str, second: str, key: str) -> Said:
        """Its words, and what they mean: None after all tries. A fault of the endpoint is no verdict either."""
        prompt = judge_prompt(concepts, first, second)
        cached = self._cache.get(self._key(prompt)) if self._cache is not None else None
        if cached is not None:
            return Said(cached, read_choice(cached))
        reply = ""
        for attempt in range(_MAX_TRIES):
            try:
                reply = await ask(self._player, prompt, stream(self._seed, "eval", "judge", key, attempt))
            except PlayerFault as fault:  # the player has tried again by itself
                return Said(f"[{fault}]", None, is_fault=True)
            choice = read_choice(reply)
            if choice is not None:
                if self._cache is not None:
                    self._cache.put(self._key(prompt), reply)
                return Said(reply, choice)
        return Said(reply, None)

    def _key(self, prompt: str) -> str:
        player = self._player
        how = player.chat.body(()) if isinstance(player, OpenAIPlayer) else player.name
        return digest("gift-judge/1", {"judge": how, "prompt": prompt})


class StandInJudge:
    """For trying things without a network: it counts words. Its scores are never called CommonGen.

    The sentence that contains more of the concepts is better, then the shorter one.
    """

    name = "offline stand-in (coverage, then brevity)"
    is_model = False

    async def compare(self, concepts: Sequence[str], first: str, second: str, key: str) -> Said:
        """A, B or tie."""
        ranks = [(-coverage(concepts, sentence), len(sentence.split())) for sentence in (first, second)]
        choice: Choice = "tie" if ranks[0] == ranks[1] else "A" if ranks[0] < ranks[1] else "B"
        return Said(choice, choice)


async def judge_pairs(
    judge: Judge,
    pairs: Sequence[Pair],
    *,
    order: Order,
    seed: int,
    on_done: Callable[[int], None] = lambda done: None,
) -> list[Judged]:
    """What a judge says of each pair; many calls under way at once.

    Raises:
        GiftError: more than a fifth of the verdicts cannot be read: this judge judges nothing. It ends as soon as that
            is certain; the verdicts are in the cache.
    """
    gate, done = asyncio.Semaphore(_UNDER_WAY), 0
    total = len(pairs) * (1 if order == "random" else 2)
    unreadable: list[str] = []

    async def one(pair: Pair) -> Judged:
        nonlocal done
        coin = stream(seed, "eval", "judge", "order", pair.key).random() < 0.5
        firsts = (coin,) if order == "random" else (coin, not coin)
        async with gate:
            _check_readable(judge, unreadable, total)
            said = [await _one_order(judge, pair, is_first) for is_first in firsts]
        unreadable.extend(one.reply for one in said if one.choice is None)
        _check_readable(judge, unreadable, total)
        done += 1
        on_done(done)
        verdicts: tuple[Verdict | None, ...] = tuple(
            _verdict(one.choice, is_first) for one, is_first in zip(said, firsts, strict=True)
        )
        replies = tuple(one.reply for one in said)
        return Judged(verdicts, replies, tuple("A" if is_first else "B" for is_first in firsts), said[0].is_fault)

    return await all_of(one(pair) for pair in pairs)


def draw_reference(references: Sequence[str], seed: int, key: str) -> str:
    """The reference that an item is compared with."""
    return stream(seed, "eval", "judge", "reference", key).choice(references)


def judge_prompt(concepts: Sequence[str], first: str, second: str) -> str:
    """What a judge is asked."""
    return _PROMPT.format(
        concepts=", ".join(map(readable_concept, concepts)), first=first.strip(), second=second.strip()
    )


def read_choice(reply: str) -> Choice | None:
    """What a judge said: the choice that its reply is or opens with, else the one that it declares (`Answer: B`).

    Everything else is no verdict: a text that merely names a letter, the article at its beginning (`A better sentence
    …`), two different declarations.
    """
    text = reply.strip()
    found = [match for match in (_OPENS.match(text), _SENTENCE.match(text)) if match]
    choices: set[Choice] = {_choice(match) for match in found or _DECLARED.finditer(text)}
    return choices.pop() if len(choices) == 1 else None


def coverage(concepts: Sequence[str], sentence: str) -> int:
    """How many concepts a sentence contains in a regular form (`use`: `uses`, `used`, `using`; `ran` is missed)."""
    words = re.findall(r"[a-z]+", sentence.lower())
    return sum(any(_forms(concept).fullmatch(word) for word in words) for concept in concepts)


def consistency(judged: Sequence[Judged]) -> float | None:
    """Share of the pairs asked in both orders that got one verdict; None where there are none."""
    known = [one.is_consistent for one in judged if one.is_consistent is not None]
    return sum(known) / len(known) if known else None


async def _one_order(judge: Judge, pair: Pair, is_first: bool) -> Said:
    texts = (pair.candidate, pair.reference) if is_first else (pair.reference, pair.candidate)
    return await judge.compare(pair.concepts, *texts, f"{pair.key}/{'AB'[not is_first]}")


def _verdict(choice: Choice | None, is_first: bool) -> Verdict | None:
    """What a choice means for the candidate, which stood at A where it was first."""
    if choice == "A":
        return "win" if is_first else "lose"
    if choice == "B":
        return "lose" if is_first else "win"
    return choice


def _check_readable(judge: Judge, unreadable: Sequence[str], total: int) -> None:
    if len(unreadable) > _MOST_UNREADABLE * total:
        shown = " ".join(unreadable[0].split())[:80] or "nothing"
        raise GiftError(
            f"the judge `{judge.name}` gave no verdict in {len(unreadable)} of {total} comparisons so far; expected "
            f"`A`, `B` or `tie`, found for example: {shown}. The answers and all readable verdicts are kept"
        )


def _choice(match: re.Match[str]) -> Choice:
    said = match["said"]
    return "A" if said == "A" else "B" if said == "B" else "tie"


def readable_concept(concept: str) -> str:
    """`dog_N` as `dog (noun)`."""
    word, mark, part = concept.rpartition("_")
    return f"{word} ({_PARTS.get(part, part)})" if mark else concept


@lru_cache(maxsize=4096)
def _forms(concept: str) -> re.Pattern[str]:
    word = (concept.rpartition("_")[0] or concept).lower()
    bases = [f"{word}(?:s|es|d|r|rs)?"]
    bases += [f"{base}(?:ed|ers?|ings?)" for base in {word.removesuffix("e"), word + word[-1:]}]
    if word.endswith("y"):
        bases.append(f"{word[:-1]}i(?:es|ed|ers?)")
    return re.compile("|".join(bases))


def _cached(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        return []
    found: list[tuple[str, str]] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            row: Mapping[str, Any] = json.loads(line)
            found.append((row["key"], row["reply"]))
        except (ValueError, KeyError, TypeError):
            continue
    return found
