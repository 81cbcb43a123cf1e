"""The plan: what a run does, with no choice left. Plain frozen data, canonical JSON and digests.

`plan.json` is written before step 1 and is what each rank and each resume loads. Its digest without the `runtime`
block is `plan_hash`: two runs with one `plan_hash` play the same games with the same prompts, data and updates.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields, is_dataclass
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar, cast, dataclass_transform

PLAN_SCHEMA: Final = "gift-plan/1"
MAX_EXACT_INT: Final = 2**53 - 1

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
JsonMap = Mapping[str, Any]
"""A mapping of plain JSON values."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T]) -> type[T]:
    """`dataclass(frozen=True, slots=True)`, at a fifth of its cost at import.

    The standard one compiles six functions for each class, half a millisecond in all; a command that checks a spec
    makes sixty classes. Here only `__init__` is compiled, and the others are the same for every class, which has at
    least one field and no base.
    """
    made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    names = tuple(item.name for item in fields(made))  # pyright: ignore[reportArgumentType]  # it is one now
    shared = {
        "__init__": _constructor(made),
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__getstate__": _state,
        "__setstate__": _set_state,
        "__values__": attrgetter(*names),
    }
    if "__eq__" not in cls.__dict__:
        shared |= {"__eq__": _equal, "__hash__": _hash}
    for name, function in shared.items():
        setattr(made, name, function)
    return made


def _constructor(cls: Any) -> Callable[..., None]:
    """An `__init__` that fills the slots of a class."""
    known: dict[str, Any] = {"MISSING": MISSING}
    arguments, lines = list[str](), list[str]()
    for item in fields(cls):
        name, value = item.name, item.name
        known[f"set_{name}"] = getattr(cls, name).__set__
        if item.default is not MISSING:
            known[f"default_{name}"] = item.default
            arguments.append(f"{name}=default_{name}")
        elif item.default_factory is not MISSING:
            known[f"make_{name}"] = item.default_factory
            arguments.append(f"{name}=MISSING")
            value = f"make_{name}() if {name} is MISSING else {name}"
        else:
            arguments.append(name)
        lines.append(f"    set_{name}(self, {value})\n")
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()\n")
    exec(f"def __init__(self, {', '.join(arguments)}):\n{''.join(lines)}", known)  # as dataclasses do
    return known["__init__"]


def _repr(self: Any) -> str:
    shown = (f"{item.name}={getattr(self, item.name)!r}" for item in fields(self))
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _equal(self: Any, other: object) -> bool:
    if other.__class__ is not self.__class__:
        return NotImplemented
    return self.__values__(self) == self.__values__(other)


def _hash(self: Any) -> int:
    return hash(self.__values__(self))


def _refuse(self: Any, name: str, *_: object) -> None:  # the signature is Python's
    raise FrozenInstanceError(f"cannot change field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, item.name) for item in fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for item, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, item.name, value)


@frozen
class FilePrint:
    """The identity of bytes a run depends on.

    Attributes:
        name: what the spec calls it (a path, a hub id).
        sha256: hex digest, or None while the bytes are not on this machine.
        reason: why there is no digest; None when there is one.
    """

    name: str
    sha256: str | None
    reason: str | None = None


@frozen
class LoraPlan:
    """Low-rank adapters: rank r, scale alpha / r, dropout in [0, 1], names of the layers."""

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]


@frozen
class ModelPlan:
    """The policy. Exactly one of `source` and `from_run` is given; `tiny` holds the sizes of the built-in preset.

    `print` is of its weights, those of another run included, and `tokenizer_print` of a tokenizer that is not its own.
    """

    source: str | None
    revision: str | None
    from_run: str | None
    from_step: int | Literal["final", "best"] | None
    tokenizer: str | None
    chat_template: str | None
    compute: Literal["bf16", "fp32"]
    weights: Literal["bf16", "fp32"]
    lora: LoraPlan | None
    gradient_checkpointing: bool
    attention: str
    tiny: JsonMap | None
    print: FilePrint | None
    tokenizer_print: FilePrint | None = None


@frozen
class OpponentPlan:
    """A player that is not trained: its type and every field of it; of a `local` one the print of its weights."""

    name: str
    type: str
    params: JsonMap
    print: FilePrint | None = None


@frozen
class RolloutPlan:
    """How one game is played: token limits per turn, sampling, faults. Times in seconds, shares in [0, 1]."""

    max_tokens_per_turn: int
    temperature: float
    thinking: Literal["off", "keep", "strip"]
    on_truncation: Literal["end", "retry"]
    opponent_noise: Literal["independent", "common"]
    opponent_illegal_retry: int
    opponent_illegal_then: Literal["random_legal", "forfeit", "void"]
    max_void_share: float
    max_turn_retries: int
    turn_timeout_s: float


@frozen
class PromptPlan:
    """Texts, not names: what is shown does not change when a shipped file does.

    Attributes:
        observations: Jinja2 texts of an observation; one is drawn for each group.
        answer: Jinja2 text of the sentence that asks for the answer format.
        tag: the action stands in <tag>…</tag>.
        think: whether a <think> part stands before it.
    """

    observations: tuple[str, ...]
    answer: str
    tag: str
    think: Literal["optional", "required", "forbidden"]


@frozen
class GamePlan:
    """One game: `games.build` makes a Game of (`family`, `params`).

    Attributes:
        name: its key in the spec.
        family: the family of games.
        params: values of the family's parameter dataclass.
        trainee_seat: a seat, `any` (drawn once a group) or `all` (every seat is trained).
        trainee_role: only instances in which the trainee has this role; None: any.
        opponents: names, one for each other seat in seat order; or one for each role.
        opponents_by: how `opponents` is read.
        assign: a list sits as written, or shuffled once a group.
        reward: worth of (win, draw, loss), each in [0, 1].
        max_turns: most policy turns of one play, retries of illegal actions included.
        illegal_retries: further tries after an illegal action; 0 forfeits.
        format_penalty, illegal_penalty: added to the return, in [-1, 0].
        held_out: False where the family is too small to split; every table then says `held-out: none`.
        data: identity of the rows, for games that have some.
    """

    name: str
    family: str
    params: JsonMap
    trainee_seat: int | Literal["any", "all"]
    trainee_role: str | None
    opponents: JsonMap
    opponents_by: Literal["seat", "role"]
    assign: Literal["fixed", "shuffle"]
    reward: tuple[float, float, float]
    max_turns: int
    illegal_retries: int
    format_penalty: float
    illegal_penalty: float
    show_penalty: bool
    prompt: PromptPlan
    rollout: RolloutPlan
    held_out: bool
    data: FilePrint | None


Schedule = tuple[tuple[int, float], ...]
"""Points (step, weight) with steps rising; linear between them, constant outside. A constant is one point at 0."""


@frozen
class Leaf:
    """A game as a part. `label` is unique in its stage (`math#2`); turns and tokens are this part's own budget.

    `rollout` holds here, with what the stage, the game and the part say; `GamePlan.rollout` is for evaluation.
    """

    label: str
    game: str
    weight: Schedule
    max_turns: int
    rollout: RolloutPlan

    @property
    def max_tokens_per_turn(self) -> int:
        """Most tokens of one policy turn of this part."""
        return self.rollout.max_tokens_per_turn


@frozen
class AllOf:
    """One trajectory plays every part in turn."""

    parts: tuple[Node, ...]
    weight: Schedule
    reward: Literal["mean", "sum", "weighted", "product", "min", "geometric", "difficulty"]
    order: Literal["fixed", "shuffled", "rotated"]
    context: Literal["shared", "fresh"]
    feedback: Literal["none", "outcome"]
    gate: Literal["none", "complete"]


@frozen
class AnyOf:
    """Each group plays one of the parts."""

    parts: tuple[Node, ...]
    weight: Schedule
    draw: Literal["balanced", "random"]


Node = Leaf | AllOf | AnyOf


@frozen
class InTurn:
    """Whole steps play one part: `blocks[i]` consecutive steps of `parts[i]` in each cycle."""

    parts: tuple[Node, ...]
    blocks: tuple[int, ...]
    order: Literal["fixed", "random"]


Play = Node | InTurn


@frozen
class AlgorithmPlan:
    """Every term of the update. Meanings and ranges: `gift explain algorithm`."""

    preset: str
    group_size: int
    groups_per_step: int
    keep: float
    scope: Literal["global", "per_task"]
    drop_zero: bool
    dynamic_sampling: bool
    max_refills: int
    loss: Literal["trajectory", "token", "constant"]
    clip_low: float
    clip_high: float
    dual_clip: float | Literal["off"]
    advantage_scale: Literal["group", "batch", "none"]
    baseline: Literal["group", "role"]
    baseline_decay: float
    credit: Literal["trajectory", "to_go", "segment", "discount"]
    discount: float
    entropy_coef: float
    kl_coef: float
    overlong: Literal["none", "mask", "penalty"]
    overlong_cache: int
    importance_cap: float
    epochs: int
    mini_batch_size: int | Literal["all"]
    optimizer: Literal["adamw", "muon"]
    learning_rate: float
    schedule: Literal["constant", "linear", "cosine"]
    min_learning_rate: float
    warmup_steps: int
    weight_decay: float
    adam_beta1: float
    adam_beta2: float
    max_grad_norm: float


@frozen
class BatchPlan:
    """Sizes of one step, exact and fixed.

    Attributes:
        groups, group_size: groups played (before any refill) and members of each.
        episodes: groups times group_size.
        trained_seats: trajectories of one episode (more than one when every seat is trained).
        kept_groups: most groups that are trained on.
        rows_per_trajectory: most sequences of one trajectory (1 when the context is shared).
        rows: sequences of one update times updates; short steps are filled with rows of mask 0.
        updates: optimizer updates of one step, all epochs together.
        rows_per_update: sequences of one optimizer update.
    """

    groups: int
    group_size: int
    episodes: int
    trained_seats: int
    kept_groups: int
    rows_per_trajectory: int
    rows: int
    updates: int
    rows_per_update: int


@frozen
class UntilPlan:
    """When a stage ends. `max_steps` always holds; the one other condition that is set may end it earlier.

    `max_steps` is 0 in a supervised stage on recordings: they give its steps, and are not read before it begins.
    """

    max_steps: int
    subgame_episodes: int | None = None
    policy_tokens: int | None = None
    success_game: str | None = None
    success_at_least: float | None = None
    success_patience: int | None = None


@frozen
class StagePlan:
    """One stage: what is played, for how long, and how the policy is updated.

    `algorithm` and `batch` are set for grpo; `supervised`, `data` and `epochs` for sft and glow.
    `schedule_steps` is the horizon of the learning rate in steps; 0: all that the recordings give.
    """

    name: str
    type: Literal["grpo", "sft", "glow"]
    play: Play
    system_prompt: str
    until: UntilPlan
    schedule_steps: int
    optimizer: Literal["carry", "reset"]
    reward: Literal["game", "format_only", "shuffled", "random"]
    max_context: int
    algorithm: AlgorithmPlan | None
    batch: BatchPlan | None
    supervised: JsonMap | None
    data: JsonMap | None
    data_prints: tuple[FilePrint, ...]
    epochs: int


@frozen
class ProbePlan:
    """A small evaluation on dev instances every so many steps."""

    every: int
    rounds: int
    games: tuple[str, ...]
    chain: bool


@frozen
class FinalPlan:
    """The evaluation of the finished run, the only reader of test."""

    split: Literal["test", "dev"]
    rounds: int
    checkpoints: tuple[int | str, ...]
    games: tuple[str, ...]
    opponents: JsonMap
    temperature: float
    max_tokens: int
    max_replays: int


@frozen
class EvaluationPlan:
    """How the policy is measured; `benchmarks` hold the type and every field of each.

    `history`: what a prompt of a game holds of earlier turns: all of them, as in training, or nothing.
    """

    seed: int
    temperature: float
    max_tokens: int
    probe: ProbePlan | None
    final: FinalPlan | None
    benchmarks: tuple[JsonMap, ...]
    subjects: tuple[str, ...]
    system: str | None
    history: Literal["full", "none"] = "full"


@frozen
class RuntimePlan:
    """Where a run happens. The only block that `plan_hash` leaves out.

    Relative paths start at `folder`. `base_urls` and `concurrency` (most requests at once) are by endpoint.
    `from_runs` has the folder of each model that a `from_run` meant when the run was made, by `model` and
    `opponents.<name>`, and of each run in `data.runs`, by `data.<run>`: a resume takes it from there, whatever run a
    name means by then.
    """

    name: str
    run_id: str
    folder: str
    resources: JsonMap
    limits: JsonMap
    output: JsonMap
    trackers: tuple[str, ...]
    base_urls: JsonMap
    concurrency: JsonMap
    from_runs: JsonMap = field(default_factory=dict[str, str])


@frozen
class Plan:
    """A whole run."""

    spec_hash: str
    seed: int
    compat: Literal["none", "gift_v1"]
    model: ModelPlan
    opponents: tuple[OpponentPlan, ...]
    games: tuple[GamePlan, ...]
    stages: tuple[StagePlan, ...]
    evaluation: EvaluationPlan
    runtime: RuntimePlan
    schema: str = PLAN_SCHEMA

    def game(self, name: str) -> GamePlan:
        """The game of this name; KeyError if there is none."""
        return next(game for game in self.games if game.name == name)


def leaves(play: Play) -> Iterator[Leaf]:
    """Every leaf of a composition, in the order written."""
    if isinstance(play, Leaf):
        yield play
        return
    for part in play.parts:
        yield from leaves(part)


def chains_of(stage: StagePlan) -> Mapping[str, Node]:
    """What a stage plays in one trajectory, by name; nothing where that is one game only.

    A stage that plays `in_turn` has a chain for each part that is one, numbered from 1.
    """
    if isinstance(stage.play, InTurn):
        parts = {f"{stage.name}#{index + 1}": part for index, part in enumerate(stage.play.parts)}
    else:
        parts = {stage.name: stage.play}
    return {name: part for name, part in parts.items() if _has_all_of(part)}


def _has_all_of(node: Node) -> bool:
    return isinstance(node, AllOf) or (not isinstance(node, Leaf) and any(map(_has_all_of, node.parts)))


def weight_at(schedule: Schedule, step: int) -> float:
    """The weight at a step, counted from 0 within the stage: linear between its points, constant outside."""
    (left, low), *points = schedule
    for right, high in points:
        if step < right:
            return low if step <= left else low + (high - low) * (step - left) / (right - left)
        left, low = right, high
    return low


def weights_at(parts: Sequence[Node], step: int) -> list[float]:
    """The weights of the parts of a draw at a step; equal where none is above 0, so that there always is a share."""
    weights = [weight_at(part.weight, step) for part in parts]
    return weights if any(weights) else [1.0] * len(weights)


def largest_remainder(claims: Sequence[float], total: int, *, first: int = 0) -> tuple[int, ...]:
    """`total` whole shares for claims that add up to it: each rounded down, the rest to the largest remainders.

    Args:
        claims: exact shares; one that is negative gets nothing.
        total: their sum, a whole number.
        first: among equal remainders the part of this number comes first, then the next (modulo their number).
    """
    dealt = [max(0, math.floor(claim + 1e-9)) for claim in claims]
    while sum(dealt) != total:
        missing = 1 if sum(dealt) < total else -1
        open_to = [index for index, share in enumerate(dealt) if missing > 0 or share > 0]
        best = max(
            open_to,
            key=lambda index: (
                missing * round(claims[index] - dealt[index], 9),
                -missing * ((index - first) % len(claims)),
            ),
        )
        dealt[best] += missing
    return tuple(dealt)


def to_json(value: object) -> Any:
    """Plain JSON data of a plan: dataclasses become objects (a composition's with its `kind`), tuples lists."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = {"kind": type(value).__name__} if isinstance(value, Leaf | AllOf | AnyOf | InTurn) else {}
        return kind | {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in cast("list[Any]", value)]
    return value


def _number(value: float) -> str:
    """ECMAScript's Number::toString (RFC 8785, section 3.2.2.3)."""
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError(f"{value} has no canonical form")
    if abs(value) <= MAX_EXACT_INT and value == int(value):
        return str(int(value))
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.replace("-", "").replace(".", "").lstrip("0")
    point = len(mantissa.replace("-", "").split(".")[0])
    whole = mantissa.replace("-", "").replace(".", "")
    leading = len(whole) - len(whole.lstrip("0"))
    power = point - leading + (int(exponent) if exponent else 0)
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    count = len(digits)
    if 0 < power <= 21:
        body = digits + "0" * (power - count) if count <= power else f"{digits[:power]}.{digits[power:]}"
    elif -6 < power <= 0:
        body = "0." + "0" * -power + digits
    else:
        head = digits[0] + (f".{digits[1:]}" if count > 1 else "")
        body = f"{head}e{'+' if power > 0 else '-'}{abs(power - 1)}"
    return sign + body


def _utf16(item: tuple[str, Any]) -> bytes:
    """RFC 8785 sorts keys by UTF-16 code units."""
    return item[0].encode("utf-16-be")


def _exact(value: float) -> str:
    if isinstance(value, float):
        return _number(value)
    if abs(value) > MAX_EXACT_INT:
        raise ValueError(f"{value} is beyond 2^53 and has no canonical form")
    return str(value)


def _canonical(value: Any) -> str:
    if value is None or isinstance(value, bool | str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, int | float):
        return _exact(value)
    if isinstance(value, Mapping):
        items = sorted(cast("Mapping[str, Any]", value).items(), key=_utf16)
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{_canonical(item)}" for key, item in items) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_canonical(item) for item in cast("list[Any]", value)) + "]"
    raise TypeError(f"{type(value).__name__} is not JSON")


def canonical_json(value: Any) -> bytes:
    """RFC 8785 canonical JSON: one byte sequence for one meaning.

    Raises:
        ValueError: a number is not finite, or an integer is beyond 2^53.
        TypeError: a value is not JSON.
    """
    return _canonical(value).encode()


def digest(kind: str, value: Any) -> str:
    """sha256 over a kind, a line break and the canonical JSON; hex."""
    return hashlib.sha256(kind.encode() + b"\n" + canonical_json(value)).hexdigest()


def missing_prints(plan: Plan) -> tuple[FilePrint, ...]:
    """Every file whose bytes are not known on this machine."""
    prints = [plan.model.print, plan.model.tokenizer_print, *(opponent.print for opponent in plan.opponents)]
    prints += [game.data for game in plan.games]
    prints += [item for stage in plan.stages for item in stage.data_prints]
    return tuple(item for item in prints if item is not None and item.sha256 is None)


def plan_hash(plan: Plan) -> str | None:
    """Digest of the plan without its runtime block; None while a file it depends on is not on this machine."""
    if missing_prints(plan):
        return None
    body = to_json(plan)
    del body["runtime"]
    return digest(PLAN_SCHEMA, body)
