"""Episodes per second of whole training steps on TicTacToe: our grpo stage beside TRL's own GRPOTrainer.

    python benchmarks/end_to_end.py

The same random model, tokenizer and chat template (Qwen2.5's), groups, micro-batches and optimizer on both sides. Moves
are random legal ones that were drawn before: every step, both sides play the same games, in which the policy samples
the very same ids. Each id comes out of a forward pass and of the sampling of its side, whose result is then replaced by
the scripted id; so both do the work that playing takes.

    ours    `train_grpo`: rules, opponent, prompts, parsing, records, engine, and the update
    TRL     `GRPOTrainer(environment_factory=...)`: a tool call is a move; its environment only reads what our games
            looked like from a list, so that no rules, opponents or prompts are computed there

The system prompt of ours is the text that the template makes of TRL's tools, so that prompts are as long as there. TRL
lets the model speak once more after the last tool call; that turn is one id. Both sides check that the scripts were
played to their ends, id by id. In each round the two take turns; the first step of each is not counted. Times are CPU
seconds of this process and wall time, of whole steps: play and update.
"""

# pyright: basic
# ruff: noqa: ANN401, N803, N806 - TRL's hooks take anything; dimensions are suffixes: logits_BV
from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, Final

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
)
from trl.chat_template_utils import qwen2_5_chat_template
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from gift_dsl.api import compile_spec
from gift_dsl.engines import generation
from gift_dsl.engines.load import load_policy, load_tokenizer
from gift_dsl.plan import Plan
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table
from gift_dsl.play.table import play_groups
from gift_dsl.players.make import Services
from gift_dsl.records import Group, Trajectory
from gift_dsl.run import bind, seated_names, table_games
from gift_dsl.seat import Turn
from gift_dsl.train.grpo import train_grpo
from gift_dsl.train.job import Hooks, StageJob
from gift_dsl.train.teacher import make_scribe

END: Final = "<|im_end|>"
MICRO: Final = 8
SPEC: Final = """\
gift: 1
name: end-to-end
seed: 1
model: {{source: {model}, gradient_checkpointing: false}}
precision: fp32
games:
  tictactoe: {{type: tictactoe, opponents: rival, trainee: {{seat: 0}}}}
opponents:
  rival: {{type: random}}
rollout: {{max_tokens_per_turn: 64}}
stages:
  - {{name: play, type: grpo, play: tictactoe, until: {{steps: {steps}}}}}
algorithm:
  preset: gift_v1
  keep: 1.0
  groups_per_step: {groups}
  group_size: {members}
  mini_batch_size: {rows}
  learning_rate: 0.000001
resources: {{micro_batch_size: {micro}, threads: {threads}}}
output: {{save_every: 1000}}
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One episode as it is to be played.

    Attributes:
        said: ids of each turn of the policy, the end of the turn included.
        heard: the policy's messages: what it is told before each of its turns.
        reward: of the game.
    """

    said: tuple[tuple[int, ...], ...]
    heard: tuple[str, ...]
    reward: float


class Mover:
    """Plays random legal moves, and says them so that both sides understand the same ids; keeps what it was told."""

    name, waits = "mover", False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """A move."""
        return said(rng.choice(turn.legal))


def said(cell: str) -> str:
    """What the policy says to choose a cell: a tool call, and our answer after it."""
    return f'<tool_call>\n{{"name": "choose", "arguments": {{"cell": "{cell}"}}}}\n</tool_call><answer>{cell}</answer>'


class Board:
    """TRL's environment: it checks that the scripted move arrived and tells what our game told then.

    Environments are made in the order of the rows of a batch, and used again for every batch.
    """

    scripts: Sequence[Sequence[Script]] = ()
    made = 0

    def __init__(self) -> None:
        self._row, self._turn, self._script = Board.made, 0, Script((), (), 0.0)
        Board.made += 1

    def reset(self, step: int, **kwargs: Any) -> str:
        """The first message of the game of this step."""
        del kwargs
        self._script, self._turn = Board.scripts[step][self._row], 0
        return self._script.heard[0]

    def choose(self, cell: str) -> str:
        """Write your mark in a cell.

        Args:
            cell: The number of the cell, or its row and column.

        Returns:
            The grid after the other player has moved.
        """
        self._turn += 1
        assert cell
        heard = self._script.heard
        return heard[self._turn] if self._turn < len(heard) else "The game is over."

    def get_reward(self) -> float:
        """Of the game, which must have been played to its end."""
        if self._turn != len(self._script.said):
            raise RuntimeError("TRL did not play the script")
        return self._script.reward


class Forced(LogitsProcessor):
    """Leaves nothing but the scripted id of each row."""

    def __init__(self, rows: Sequence[tuple[int, ...]], end: int) -> None:
        longest = max(map(len, rows))
        self._ids = torch.tensor([[*row, *[end] * (longest - len(row))] for row in rows])
        self._place = 0

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """[rows, vocabulary], all but one of a row impossible."""
        ids = self._ids[:, self._place, None]
        self._place += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, ids, scores.gather(1, ids))


class Scripted(GRPOTrainer):
    """TRL's trainer; only what its model samples is given."""

    def __init__(self, scripts: Sequence[Sequence[Script]], end: int, **options: Any) -> None:
        self.scripts, self.end, self._call, self._now = scripts, end, 0, scripts[0]
        super().__init__(**options)

    def _generate_and_score_completions(self, inputs: Any) -> Any:
        self._call, self._now = 0, self.scripts[inputs[0]["step"]]
        found = super()._generate_and_score_completions(inputs)
        is_sampled = (found["completion_mask"] * found["tool_mask"]).bool()
        if found["completion_ids"][is_sampled].tolist() != [
            token for one in self._now for turn in (*one.said, (self.end,)) for token in turn
        ]:
            raise RuntimeError("TRL trains on other ids than the scripted ones")
        return found

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        turn = self._call
        self._call += 1
        rows = [(*one.said, (self.end,))[turn] for one in self._now if len(one.said) >= turn]
        if len(rows) != len(prompt_ids):
            raise RuntimeError(f"TRL asks for {len(prompt_ids)} turns where the scripts have {len(rows)}")
        generate = self.model.generate

        def forced(**given: Any) -> Any:
            return generate(**given, logits_processor=LogitsProcessorList([Forced(rows, self.end)]))

        self.model.generate = forced
        try:
            return super()._generate_single_turn(prompt_ids, *args, **kwargs)
        finally:
            self.model.generate = generate


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE of what is said in these games, with the chat template of Qwen2.5."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", "<|im_start|>", END]
    trainer = trainers.BpeTrainer(
        vocab_size=4000,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    root = Path(__file__).parent.parent
    texts = [path.read_text() for path in sorted(root.glob("templates/*.j2")) + sorted(root.glob("docs/*.md"))]
    tokenizer.train_from_iterator([*texts, qwen2_5_chat_template], trainer)
    tokenizer.add_tokens([AddedToken(text, special=False) for text in ("<tool_call>", "</tool_call>")])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    fast.chat_template = qwen2_5_chat_template
    return fast


def save_model(folder: Path, hidden: int, layers: int) -> None:
    """Random weights, and the tokenizer."""
    tokenizer = make_tokenizer()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=hidden * 11 // 4,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def tools_text(tokenizer: Any) -> str:
    """The system prompt that the template makes of TRL's tools."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": ""}], tools=[Board().choose], tokenize=False)
    found = re.match(r"<\|im_start\|>system\n(.*?)<\|im_end\|>", text, re.DOTALL)
    assert found is not None
    return found.group(1)


class Ours:
    """Our grpo stage.

    Args:
        plan: with the model's folder.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.stage = plan, plan.stages[-1]
        self.games = table_games(plan, ("tictactoe",), "train")
        self.players = bind(seated_names(plan, ("tictactoe",)), plan, Services())
        self.engine = load_policy(plan.model, plan.model.source)

    def play(self, steps: int, members: int, groups: int) -> list[list[Script]]:
        """The games of each step with a random mover in the policy's seat."""
        table = Table(
            games=self.games,
            policy=make_scribe(self.engine.codec).seat(Mover()),  # type: ignore[arg-type]  # any player will do
            players=self.players,
            system_prompt=self.stage.system_prompt,
            max_context=self.stage.max_context,
        )
        found: list[list[Script]] = []
        for step in range(steps):
            keys = Keys(self.plan.seed, "train", self.stage.name, step)
            walks = plan_walks(self.stage.play, keys, range(groups))
            played = asyncio.run(play_groups(table, keys, walks, members))
            played.sort(key=lambda group: int(group.id.split("/")[-1]))
            found.append([self._script(one) for group in played for one in group.trajectories])
        return found

    def _script(self, one: Trajectory) -> Script:
        (sequence,) = one.sequences
        spans = [turn.span for turn in one.turns if turn.span is not None]
        ids = [*sequence.completion_ids]
        before = [list(sequence.prompt_ids), *([*ids[a[1] : b[0]]] for a, b in itertools.pairwise(spans))]
        assert one.outcome_return is not None
        assert all(turn.end == "action" for turn in one.turns)
        return Script(
            said=tuple(tuple(ids[start:end]) for start, end in spans),
            heard=tuple(self._message(given) for given in before),
            reward=one.outcome_return,
        )

    def _message(self, ids: Sequence[int]) -> str:
        """The user's message among given ids."""
        text = self.engine.codec.decode(ids)
        return text.rpartition("user\n")[2].removesuffix("\nassistant\n").strip()

    def train(self, scripts: Sequence[Sequence[Script]], tick: Callable[[], None], folder: Path) -> None:
        """All steps; `tick` is called after each."""

        def after(_record: object) -> None:
            tick()

        job = StageJob(
            plan=self.plan,
            stage=self.stage,
            index=0,
            engine=self.engine,
            tokenizer=load_tokenizer(self.plan.model, self.plan.model.source),
            folder=folder,
            hooks=Hooks(on_step=after, on_groups=partial(_check, scripts)),
            games=self.games,
            players=self.players,
        )
        draw = generation._sample
        members = self.stage.algorithm.group_size if self.stage.algorithm else 1
        generation._sample = Forcing(scripts, members, draw)
        try:
            train_grpo(job)
        finally:
            generation._sample = draw


class Forcing:
    """The engine's sampling, whose ids are then replaced by the scripted ones.

    Args:
        scripts: of each step, groups one after the other.
        members: of a group.
        draw: what the engine samples with.
    """

    def __init__(self, scripts: Sequence[Sequence[Script]], members: int, draw: Any) -> None:
        self._scripts, self._draw, self._members = scripts, draw, members
        self._turns: Counter[str] = Counter()

    def __call__(self, by_row: Sequence[generation.Turn], logits_BV: torch.Tensor, ends: frozenset[int]) -> None:
        """One id more for each turn under way."""
        alive = [(row, turn) for row, turn in enumerate(by_row) if turn.finish_reason is None]
        self._draw(by_row, logits_BV, ends)
        logp_BV = logits_BV.float().log_softmax(-1)
        ids = [self._scripted(turn) for _, turn in alive]
        logps = logp_BV[[row for row, _ in alive], ids].tolist()
        for (_, turn), token, logp in zip(alive, ids, logps, strict=True):
            turn.ids[-1], turn.logprobs[-1] = token, logp
            turn.finish_reason = "stop" if token in ends else None

    def _scripted(self, turn: generation.Turn) -> int:
        place = len(turn.ids) - 1
        name = turn.request.episode
        self._turns[name] += place == 0
        step, group, member = map(int, name.split("/")[1:4])
        return self._scripts[step][group * self._members + member].said[self._turns[name] - 1][place]


def _check(scripts: Sequence[Sequence[Script]], step: int, groups: Sequence[Group]) -> None:
    """Ours played the script."""
    played = sorted(groups, key=lambda group: int(group.id.split("/")[-1]))
    for one, script in zip((one for group in played for one in group.trajectories), scripts[step], strict=True):
        (sequence,) = one.sequences
        ids = tuple(token for token, bit in zip(sequence.completion_ids, sequence.mask, strict=True) if bit)
        if ids != tuple(token for turn in script.said for token in turn) or one.outcome_return != script.reward:
            raise RuntimeError("our stage did not play the script")


class Ticks(TrainerCallback):
    """Calls after each step."""

    def __init__(self, tick: Callable[[], None]) -> None:
        self._tick = tick

    def on_step_end(self, *_args: Any, **_kwargs: Any) -> None:
        """A step is over."""
        self._tick()


def train_theirs(
    plan: Plan, scripts: Sequence[Sequence[Script]], members: int, tick: Callable[[], None], folder: Path
) -> None:
    """All steps through TRL's trainer and environment; `tick` is called after each."""
    rows = len(scripts[0])
    Board.scripts, Board.made = scripts, 0
    tokenizer = load_tokenizer(plan.model, plan.model.source)
    config = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=rows // MICRO,
        num_generations=members,
        max_steps=len(scripts),
        max_completion_length=1500,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        beta=0.0,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        shuffle_dataset=False,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )
    prompt = [{"role": "user", "content": ""}]
    data = [{"prompt": prompt, "step": step} for step in range(len(scripts)) for _ in range(rows // members)]
    trainer = Scripted(
        scripts,
        tokenizer.convert_tokens_to_ids(END),
        model=LlamaForCausalLM.from_pretrained(plan.model.source, dtype=torch.float32),
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=tokenizer,
        environment_factory=Board,
        callbacks=[Ticks(tick)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def times(work: Callable[[Callable[[], None]], None]) -> list[tuple[float, float]]:
    """CPU and wall seconds of each step but the first, which also loads and warms."""
    marks: list[tuple[float, float]] = []
    work(lambda: marks.append((process_time(), perf_counter())))
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(marks)]


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--groups", type=int, default=4)
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--steps", type=int, default=3, help="of each round, the first one not counted")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as name:
        compare(given, Path(name))


def compare(given: argparse.Namespace, folder: Path) -> None:
    """Rounds in which the two take turns."""
    save_model(folder / "model", given.hidden, given.layers)
    rows = given.groups * given.members
    numbers = {"steps": given.steps, "groups": given.groups, "members": given.members, "rows": rows}
    text = SPEC.format(model=folder / "model", micro=MICRO, threads=given.threads, **numbers)
    (folder / "spec.yaml").write_text(text)
    (plan,) = compile_spec(str(folder / "spec.yaml"))
    system = tools_text(load_tokenizer(plan.model, plan.model.source))
    plan = replace(plan, stages=(replace(plan.stages[-1], system_prompt=system),))
    scripts = Ours(plan).play(given.steps, given.members, given.groups)
    found: dict[str, list[tuple[float, float]]] = {"ours": [], "TRL": []}
    for number in range(given.rounds):
        ours = partial(Ours(plan).train, scripts, folder=folder / f"ours-{number}")
        theirs = partial(train_theirs, plan, scripts, given.members, folder=folder / f"theirs-{number}")
        found["ours"] += times(ours)
        found["TRL"] += times(theirs)
    report(given, scripts, found)


def report(
    given: argparse.Namespace, scripts: Sequence[Sequence[Script]], found: dict[str, list[tuple[float, float]]]
) -> None:
    """The table."""
    rows = given.groups * given.members
    counted = scripts[1:]
    turns = sum(len(one.said) for step in counted for one in step) / len(counted)
    ids = sum(len(turn) for step in counted for one in step for turn in one.said) / len(counted)
    print(f"{given.groups} groups of {given.members}, {turns:.0f} turns and {ids:.0f} sampled ids a step,", end=" ")
    print(f"load {os.getloadavg()[0]:.1f}\n")
    print("| | CPU s a step | wall s a step | episodes / CPU s | episodes / s |")
    print("|---|---|---|---|---|")
    for name, all_times in found.items():
        cpu, wall = (median(one[kind] for one in all_times) for kind in (0, 1))
        print(f"| {name} | {cpu:.2f} | {wall:.2f} | {rows / cpu:.2f} | {rows / wall:.2f} |")
    for kind, what in enumerate(("CPU", "wall")):
        ratios = sorted(b[kind] / a[kind] for a, b in zip(found["ours"], found["TRL"], strict=True))
        print(
            f"\n{what}: ours plays {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) times as many episodes."
        )


if __name__ == "__main__":
    main()
