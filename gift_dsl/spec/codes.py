"""Every code of a diagnostic: what causes it, an example, and the repair. docs/diagnostics.md is made from this.

Codes are stable; messages are not. A test holds this list equal to the codes that the sources emit, and runs each
example: laid over the smallest spec, key by key, it must give its code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Code:
    """What docs and `gift explain` say of a code.

    Attributes:
        severity: an error makes a spec invalid, a warning does not.
        cause: what is wrong, and why it matters where that is not plain.
        example: lines of a spec that have it; without `run`, only a description.
        repair: what to write instead.
        files: other files that the example needs, by name.
        options: of the command line, where the mistake is there.
        run: the example gives the code when it is checked.
        whole: the example is a whole file, not laid over a spec.
    """

    severity: Literal["error", "warning"]
    cause: str
    example: str
    repair: str
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    options: tuple[str, ...] = ()
    run: bool = True
    whole: bool = False


SMALLEST: Final = """\
gift: 1
name: example
model: {source: tiny}
games: {ttt: {type: tictactoe, opponents: random}}
stages: [{name: play, type: grpo, play: ttt, until: {steps: 10}}]
rollout: {max_tokens_per_turn: 20}
"""
"""The spec that examples are laid over: each of their top-level keys replaces the one here."""

_FILES: Final[Mapping[str, Code]] = {
    "file-missing": Code(
        "error",
        "A file that was named, by the command line or by another file, is not there.",
        "gift validate specs/nestd.yaml",
        "Correct the name; names of files nearby are suggested.",
        run=False,
    ),
    "file-unreadable": Code(
        "error",
        "A file is there and cannot be opened: its permissions, or a name that the system refuses.",
        "chmod 000 spec.yaml; gift validate spec.yaml",
        "Make it readable.",
        run=False,
    ),
    "file-not-regular": Code(
        "error",
        "What was named is a folder, a pipe or a device. A spec is read from regular files only, so that reading one "
        "can neither block nor go on for ever.",
        "gift validate specs/",
        "Name a file; several files may be given at once.",
        run=False,
    ),
    "file-symlink": Code(
        "error",
        "A file is reached through a symbolic link. A shared spec must not reach out of the project that holds it, and "
        "a link could.",
        "extends: link-to-somewhere.yaml",
        "Name the file itself, or copy it into the project.",
        run=False,
    ),
    "file-too-large": Code(
        "error",
        "A spec file has more than 1 MiB. A spec holds no data.",
        "vars: {pairs: [...]}    # a million of them",
        "Put data into a dataset or a file and name that.",
        run=False,
    ),
    "extends-missing": Code(
        "error",
        "`extends` names a file that is not there.",
        "extends: bsae.yaml",
        "Paths are relative to the file that says `extends`.",
    ),
    "extends-outside": Code(
        "error",
        "`extends` leads out of the project: an absolute path, a URL, or too many `../`. A spec is shared; what it "
        "reads on another machine must not depend on what lies around there.",
        "extends: https://example.org/base.yaml",
        "Copy the file into the project and give its path relative to this one.",
    ),
    "extends-cycle": Code(
        "error",
        "Files extend one another in a circle.",
        "extends: other.yaml",
        "Remove one of the `extends` on the way; a note shows each of them.",
        files={"other.yaml": "extends: spec.yaml\n"},
    ),
    "extends-depth": Code(
        "error",
        "More than 16 files extend one another.",
        "extends: a.yaml        # which extends b.yaml, which extends c.yaml, ...",
        "Merge some of them.",
        run=False,
    ),
    "game-file-missing": Code(
        "error",
        "`file` of a game names a file that is not there.",
        "games: {ttt: {opponents: random, file: own.yaml}}",
        "Paths are relative to the spec that names the file.",
    ),
    "game-file-outside": Code(
        "error",
        "`file` of a game leads out of the project, as `extends` must not either.",
        "games: {ttt: {opponents: random, file: /etc/own.yaml}}",
        "Copy the game file into the project.",
    ),
    "game-file-type": Code(
        "error",
        "A game file must say of which family its game is; it cannot build on another game file.",
        "games: {ttt: {opponents: random, file: own.yaml}}",
        "Write `type: board` (or another family; `gift list games`) into the game file.",
        files={"own.yaml": "type: tictactoe\n"},
    ),
    "game-source": Code(
        "error",
        "A game has both a `type` and a `file`, which says a type too.",
        "games: {ttt: {opponents: random, type: board, file: own.yaml}}",
        "Remove one of them.",
        files={"own.yaml": "type: board\n"},
    ),
    "prompt-file-missing": Code(
        "error",
        "`file` of a prompt names a template that is not there.",
        "games: {ttt: {type: tictactoe, opponents: random, prompt: {file: ttt.j2}}}",
        "Paths are relative to the file that names the template; or write it into `prompt.template`.",
    ),
    "prompt-file-outside": Code(
        "error",
        "`file` of a prompt leads out of the project, as `extends` must not either.",
        "games: {ttt: {type: tictactoe, opponents: random, prompt: {file: /etc/ttt.j2}}}",
        "Copy the template into the project.",
    ),
    "prompt-source": Code(
        "error",
        "A prompt has both a `template` and a `file`.",
        'games: {ttt: {type: tictactoe, opponents: random, prompt: {file: ttt.j2, template: "{{ cells }}"}}}',
        "Remove one of them.",
    ),
    "chat-template-missing": Code(
        "error",
        "`model.chat_template` names a file that is not there. A text with a brace or a line break is the template "
        "itself.",
        "model: {source: tiny, chat_template: chat.jinja}",
        "Paths are relative to the file that names the template.",
    ),
    "chat-template-outside": Code(
        "error",
        "`model.chat_template` leads out of the project, as `extends` must not either.",
        "model: {source: tiny, chat_template: ../../chat.jinja}",
        "Copy the template into the project.",
    ),
}

_YAML: Final[Mapping[str, Code]] = {
    "yaml-syntax": Code(
        "error",
        "The text is not YAML. The message says it in terms of the line; one such error can hide later ones in the "
        "same file.",
        "seed: a: b",
        "Most often: a value that holds `: `, starts with one of `@ % * & !` or holds quotes needs quotes round it.",
    ),
    "yaml-empty": Code(
        "error",
        "The file holds nothing, or only comments.",
        "# nothing yet",
        "`gift init` writes a spec to start from.",
        whole=True,
    ),
    "yaml-root": Code(
        "error",
        "A spec is a map of keys to values, and this file is a list or a single value.",
        "- gift: 1\n- name: example",
        "Start with `gift: 1`, without a dash.",
        whole=True,
    ),
    "yaml-encoding": Code(
        "error",
        "The bytes of the file are not UTF-8.",
        "description: caf\\xe9    # Latin-1",
        "Save the file as UTF-8.",
        run=False,
    ),
    "yaml-control": Code(
        "error",
        "A character that no text of a spec needs: NUL, escape, a line separator that some editors take for the end "
        "of a line, half of a surrogate pair.",
        'description: "\\ud800"',
        "Delete it; where it is meant, write its escape inside double quotes.",
    ),
    "yaml-tab": Code(
        "error",
        "A tab stands where YAML allows spaces only.",
        "games:\n\tttt: {type: tictactoe, opponents: random}",
        "Indent with spaces.",
    ),
    "yaml-nbsp": Code(
        "error",
        "A character that looks like a space and is another one, such as the no-break space of a web page. YAML would "
        "make it part of the key.",
        "model:\n\u00a0 source: tiny",
        "Replace it by a space.",
    ),
    "yaml-tag": Code(
        "error",
        "YAML tags (`!name`) make readers build objects. A spec has none.",
        "seed: !!int 5",
        "Delete the tag; text that looks like a number goes in quotes.",
    ),
    "yaml-directive": Code(
        "error",
        "A directive such as `%YAML 1.1` changes how a file is read. A spec is always YAML 1.2.",
        "%YAML 1.1\n---\ngift: 1",
        "Delete the line.",
        whole=True,
    ),
    "yaml-documents": Code(
        "error",
        "A second document begins in the file.",
        "gift: 1\n---\ngift: 1",
        "Use `sweep` for several runs, or one file for each spec.",
        whole=True,
    ),
    "yaml-braces": Code(
        "error",
        "`{{` without quotes is a map inside a map for YAML. Templates live inside text.",
        "description: {{ name }}",
        "Put the whole value in quotes.",
    ),
    "yaml-alias": Code(
        "error",
        "`*name` refers to an anchor `&name` that is not above it.",
        "seed: *number",
        "Define the anchor above (a top-level key `x-...` is a place for it), or put the text in quotes.",
    ),
    "yaml-recursive": Code(
        "error",
        "An alias stands inside the value that it stands for.",
        "x-loop: &loop {again: *loop}",
        "A value cannot hold itself.",
    ),
    "yaml-bomb": Code(
        "error",
        "Aliases or variables make a small file stand for more than 20,000 values.",
        "x-a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\nx-b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
        "x-c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nx-d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
        "x-e: [*d, *d, *d, *d, *d, *d, *d, *d, *d]",
        "Use fewer aliases, or several files.",
    ),
    "yaml-depth": Code(
        "error",
        "Values are nested more than 48 deep.",
        "x-deep: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
        "Nothing in the language needs that; look for an unclosed bracket.",
    ),
    "yaml-merge": Code(
        "error",
        "`<<` takes a map, or a list of maps, and gets something else.",
        "model: {<<: tiny}",
        "Write `<<: *anchor` for an anchor that holds a map.",
    ),
    "yaml-nan": Code(
        "error",
        "A number is not finite: `.nan`, `.inf`, or more than a double holds.",
        "algorithm: {learning_rate: .inf}",
        "Write a finite number.",
    ),
    "yaml-null-key": Code(
        "error",
        "A key is empty, or `null` or `~` without quotes.",
        "games: {null: {type: tictactoe, opponents: random}}",
        "A key is text; put it in quotes if that is what it is.",
    ),
    "duplicate-key": Code(
        "error",
        "A map has the same key twice. Most readers of YAML keep the last one without a word.",
        "model: {source: tiny, source: Qwen/Qwen2.5-0.5B-Instruct}",
        "Delete one of them; a note shows the first.",
    ),
}

_FILLING: Final[Mapping[str, Code]] = {
    "unknown-var": Code(
        "error",
        "`${vars.NAME}` names a variable that nothing defines.",
        "vars: {size: 8}\nseed: ${vars.size}\nalgorithm: {group_size: '${vars.sise}'}",
        "Define it under `vars`, here or in a base file.",
    ),
    "unused-var": Code(
        "warning",
        "A variable is defined and no run uses it. In a fragment it is not looked for.",
        "vars: {size: 8}",
        "Write `${vars.size}` where it belongs, or delete it.",
    ),
    "nested-var": Code(
        "error",
        "The value of a variable refers to another one. Variables do not nest, so that one look finds the value.",
        "vars: {a: text, b: '${vars.a}'}\ntags: ['${vars.a}', '${vars.b}']",
        "Write the value out.",
    ),
    "var-syntax": Code(
        "error",
        "`${...}` that is not `${vars.NAME}`. There are no expressions.",
        "vars: {size: 8}\ndescription: ${vars.size} in words, ${vars.size * 2} in deeds",
        "Write the value out; for a literal `${` write `$${`.",
    ),
    "var-type": Code(
        "error",
        "A variable that holds a map or a list stands inside other text.",
        "vars: {sizes: [1, 2]}\ndescription: sizes ${vars.sizes}",
        "Only a single value can stand inside text; alone in its place, a variable may hold anything.",
    ),
    "env-in-spec": Code(
        "error",
        "`${NAME}` looks like a variable of the environment. A spec reads none: it would mean different things on "
        "different machines, and carry secrets into artifacts.",
        "description: ${HOME}",
        "Use `vars`; give a key by the NAME of its variable, `api_key_env: OPENAI_API_KEY`.",
    ),
    "set-path": Code(
        "error",
        "The path of a `--set`, or of an axis of a sweep, cannot be read or leads nowhere.",
        "sweep:\n  axes:\n    stages[warmup].play: [ttt]",
        'Write a.b, a."b.c", stages[0].x or stages[name].x.',
    ),
    "only-unknown": Code(
        "error",
        "`--only` names an axis or a value that the sweep does not have.",
        "sweep: {axes: {seed: [1, 2]}}",
        "Write one of the axes and one of its values, as `gift plan` names them.",
        options=("--only", "seed=3"),
    ),
    "sweep-empty": Code(
        "error",
        "A sweep has no runs, or an axis no values.",
        "sweep: {axes: {seed: []}}",
        "Give it values, or delete it.",
    ),
    "sweep-too-large": Code(
        "error",
        "A sweep has more than 256 runs, or its runs have more than 100,000 values together.",
        "sweep:\n  axes:\n    seed: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]\n"
        "    model.source: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]",
        "Split it into several specs.",
    ),
    "sweep-repeated-value": Code(
        "error",
        "An axis has a value twice, two axes are one, or two runs would have one name.",
        "sweep: {axes: {seed: [1, 2, 1]}}",
        "Delete the repetition.",
    ),
    "sweep-axis-set": Code(
        "error",
        "A path is an axis of the sweep and given by `--set` too; the axis would win without a word.",
        "sweep: {axes: {seed: [1, 2]}}",
        "Drop the `--set`, or choose among the values with `--only`.",
        options=("--set", "seed=3"),
    ),
    "sweep-unknown-axis": Code(
        "error",
        "`exclude` names a path that is no axis of this sweep.",
        "sweep: {axes: {seed: [1, 2]}, exclude: [{sed: 1}]}",
        "Write the axis as it stands under `axes`.",
    ),
    "sweep-exclude-no-match": Code(
        "warning",
        "An entry of `exclude` matches no run.",
        "sweep: {axes: {seed: [1, 2]}, exclude: [{seed: 3}]}",
        "Delete it, or correct its values.",
    ),
    "arms-differ": Code(
        "warning",
        "The arms of a sweep differ in what they may use: single games, updates or tokens. A difference between them "
        "can then come from that. The arms of the GIFT paper do differ.",
        "games: {a: {type: arithmetic}, b: {type: matrix_games}}\n"
        "stages: [{name: play, type: grpo, play: a, until: {steps: 10}}]\n"
        "sweep:\n  axes:\n    stages[play].play: {mixed: {any_of: [a, b]}, nested: {all_of: [a, b]}}",
        "Match the budgets with `groups_per_step` and `until`, or say in the write-up that they differ.",
    ),
}

_SHAPE: Final[Mapping[str, Code]] = {
    "unknown-key": Code(
        "error",
        "A map has a key that the language does not have there. Often a typo, or a key of another type.",
        "model: {source: tiny, revison: main}",
        "The hint names the nearest key, or where the key does belong. To drop an inherited key write `key: null`.",
    ),
    "missing-key": Code(
        "error",
        "A key that must be given is not there.",
        "stages: [{name: play, type: grpo, play: ttt}]",
        "Add it; the hint says what it is for.",
    ),
    "wrong-type": Code(
        "error",
        "A value is of another kind than its key takes: text for a number, a map for a list.",
        'seed: "4"',
        "The hint says how to write it. YAML 1.2 reads `no` and `1_000` as text, and `1.10` as a number.",
    ),
    "wrong-value": Code(
        "error",
        "A value breaks a rule for which there is no code of its own. Built-in keys have none; a plugin's may.",
        "games: {own: {type: plugin_game, level: 3}}    # where the plugin allows even levels only",
        "The message says the rule.",
        run=False,
    ),
    "unknown-value": Code(
        "error",
        "A value is not one of those that its key may have.",
        "algorithm: {preset: gitf}",
        "The hint names the nearest of them, or lists all.",
    ),
    "unknown-type": Code(
        "error",
        "`type` of an opponent, a stage, a benchmark or a game is none that there is.",
        "opponents: {rival: {type: minmax}}",
        "`gift list opponents`, `games` or `benchmarks` lists them.",
    ),
    "out-of-range": Code(
        "error",
        "A number lies outside the range of its key.",
        "algorithm: {group_size: 1}",
        "`gift explain algorithm.group_size` says the range.",
    ),
    "too-short": Code(
        "error",
        "A text, a list or a map is empty, or has fewer items than it needs.",
        "stages: []",
        "Give it items.",
    ),
    "too-long": Code(
        "error",
        "A text, a list or a map holds more than it may.",
        "name: a-name-that-is-far-longer-than-the-sixty-four-characters-a-name-may-have",
        "Shorten it.",
    ),
    "bad-name": Code(
        "error",
        "A name holds characters that it may not: it becomes a folder, a variable's name or a tag.",
        "name: my experiment",
        "Names start with a letter and hold letters, digits, `_`, `.` and `-`.",
    ),
    "bad-url": Code(
        "error",
        "An address does not start with http:// or https://, holds a space, or names no host.",
        "opponents: {rival: {type: openai, base_url: localhost:8000, model: m}}",
        "Write it up to and including `/v1`.",
    ),
    "bad-params": Code(
        "error",
        "Parameters are right one by one and contradict each other.",
        "games: {ttt: {type: tictactoe, connect: 9, opponents: random}}",
        "The message says which, with their values.",
    ),
    "secret-in-spec": Code(
        "error",
        "A value looks like a key or a password, or an address holds one. A spec is committed, shared and hashed, and "
        "its errors end up in logs, where the value is masked.",
        "description: hf_ABCDEFGHIJKLMNOPQRSTUVWX",
        "Revoke it if it was shared; keep it in an environment variable and name that: `api_key_env: NAME`.",
    ),
}

_NAMES: Final[Mapping[str, Code]] = {
    "unknown-game": Code(
        "error",
        "A composition, a stage or an evaluation names a game that `games` does not define.",
        "stages: [{name: play, type: grpo, play: tt, until: {steps: 10}}]",
        "Define it under `games`.",
    ),
    "unknown-opponent": Code(
        "error",
        "Somebody is named who is neither defined under `opponents` nor predefined.",
        "games: {ttt: {type: tictactoe, opponents: rival}}",
        "Define it under `opponents`; `gift list opponents` shows which names need no definition.",
    ),
    "unknown-role": Code(
        "error",
        "A role that the game does not have.",
        "games: {ttt: {type: tictactoe, opponents: random, trainee: {role: spy}}}",
        "`gift explain whos_the_spy` shows the roles of a game.",
    ),
    "duplicate-stage": Code(
        "error",
        "Two stages have one name, so `stages[name]` and the records of a run could mean either.",
        "stages:\n  - {name: play, type: grpo, play: ttt, until: {steps: 10}}\n"
        "  - {name: play, type: grpo, play: ttt, until: {steps: 10}}",
        "Give each its own name.",
    ),
    "reserved-name": Code(
        "error",
        "A stage is called `start`, `best` or `final`. A run keeps models under these names beside those that its "
        "stages hand on, and `from_run`, `--checkpoint` and results mean those.",
        "stages: [{name: start, type: grpo, play: ttt, until: {steps: 10}}]",
        "Give the stage another name.",
    ),
    "not-a-game": Code(
        "error",
        "The name of a composition stands where a game is played by itself: in `games` of the probe or of the final "
        "evaluation, or in `until.success`.",
        "games: {ttt: {type: tictactoe, opponents: random}, twice: {all_of: [ttt, ttt]}}\n"
        "evaluation: {final: {games: [twice]}}",
        "Name the games in it. The final evaluation plays the composition of the last stage by itself, and a probe "
        "does with `chain: true`.",
    ),
    "listed-twice": Code(
        "error",
        "A game or a checkpoint is listed twice, and would be played twice under one name.",
        "evaluation: {final: {checkpoints: [final, start, final]}}",
        "Remove one.",
    ),
    "duplicate-benchmark": Code(
        "error",
        "A benchmark is listed twice.",
        "evaluation: {benchmarks: [mmlu, mmlu]}",
        "Remove one.",
    ),
    "composition-cycle": Code(
        "error",
        "A named composition contains itself, directly or through others.",
        "games: {ttt: {type: tictactoe, opponents: random}, chain: {all_of: [ttt, chain]}}",
        "Remove one of the names on the way.",
    ),
    "opponent-cycle": Code(
        "error",
        "A pool, or who plays before the first snapshot, leads back to itself.",
        "opponents: {a: {type: pool, members: [a, random]}}\ngames: {ttt: {type: tictactoe, opponents: a}}",
        "Remove one of the names on the way.",
    ),
    "unused": Code(
        "warning",
        "A game that no stage plays, or an opponent that nobody meets.",
        "opponents: {rival: {type: minimax}}",
        "Remove it, or name it where it belongs.",
    ),
}

_SEATS: Final[Mapping[str, Code]] = {
    "seats": Code(
        "error",
        "Players and seats do not match: too many, too few, or a seat that the game does not have.",
        "games: {ttt: {type: tictactoe, opponents: [random, random]}}",
        "List one name for each other seat, or one name for all of them.",
    ),
    "missing-opponents": Code(
        "error",
        "A game has more seats than the policy takes and names nobody for the others.",
        "games: {ttt: {type: tictactoe}}",
        "Add `opponents: random`, or the name of one of your opponents; or train every seat.",
    ),
    "opponent-cannot-play": Code(
        "error",
        "An opponent is of a type that knows other games: minimax plays boards, `clue` plays Who's the Spy.",
        "games: {ttt: {type: tictactoe, opponents: clue}}",
        "The hint lists who can.",
    ),
    "human-opponent": Code(
        "error",
        "A person sits in a game of a run, which cannot wait for one.",
        "games: {ttt: {type: tictactoe, opponents: human}}",
        "Use `gift play` to play yourself.",
    ),
    "judge-not-a-model": Code(
        "error",
        "The judge of a benchmark is not an opponent of type `openai`.",
        "evaluation: {benchmarks: [{type: commongen, judge: random}]}",
        "Define a model under `opponents` and name it.",
    ),
    "subject-not-a-model": Code(
        "error",
        "`evaluation.subjects` names an opponent that is no model, so that a benchmark cannot be asked of it.",
        "evaluation: {subjects: [random]}",
        "Name opponents of type `openai` or `local`.",
    ),
    "loglikelihood-on-chat": Code(
        "error",
        "A task that compares log-likelihoods is asked of a chat API, which gives none.",
        "opponents: {m: {type: openai, base_url: http://localhost/v1, model: m}}\n"
        "evaluation: {subjects: [m], benchmarks: [{type: lm_eval, task: mmlu}]}",
        "Use a generative task (`mmlu_generative`), or one of our own benchmarks.",
    ),
}

_TASKS: Final[Mapping[str, Code]] = {
    "unknown-task": Code(
        "warning",
        "A benchmark of a chat API is no task of the lm-eval that this gift was made with. Where it scores "
        "log-likelihoods, the evaluation will stop at it.",
        "opponents: {m: {type: openai, base_url: http://localhost/v1, model: m}}\n"
        "evaluation: {subjects: [m], benchmarks: [{type: lm_eval, task: mmul}]}",
        "Correct the name; `lm_eval ls tasks` lists those of the lm-eval that is installed.",
    ),
}

_MEANING: Final[Mapping[str, Code]] = {
    "model-source": Code(
        "error",
        "A model comes from `source` or from `from_run`: exactly one of them.",
        "model: {revision: main}",
        "Give one of the two.",
    ),
    "tiny-without-source": Code(
        "error",
        "`model.tiny` sizes the built-in model, and the model is another one.",
        "model: {source: Qwen/Qwen2.5-0.5B-Instruct, tiny: {layers: 4}}",
        "Write `source: tiny`, or remove `tiny`.",
    ),
    "unknown-lora-target": Code(
        "error",
        "`lora.target_modules` names a linear layer that the model does not have, so that nothing would be trained "
        "there.",
        "model: {source: tiny, lora: {target_modules: [query]}}",
        "The hint names the layers; `all-linear` takes all of them.",
    ),
    "data-source": Code(
        "error",
        "Supervised episodes come from `runs`, `scripted` or `files`: exactly one of them.",
        "stages: [{name: warmup, type: sft, play: ttt, data: {where: {outcome: win}}}]",
        "Give one of the three.",
    ),
    "until-condition": Code(
        "error",
        "A stage ends after exactly one condition: `steps`, `subgame_episodes`, `policy_tokens` or `success`.",
        "stages: [{name: play, type: grpo, play: ttt, until: {steps: 10, policy_tokens: 1000}}]",
        "Remove the others; `max_steps` bounds any condition but `steps`.",
    ),
    "until-max-steps": Code(
        "error",
        "A stage that does not end after a fixed number of steps needs `max_steps`, which sizes plan and schedule.",
        "stages: [{name: play, type: grpo, play: ttt, until: {policy_tokens: 1000}}]",
        "Add `max_steps`.",
    ),
    "until-needs-probe": Code(
        "error",
        "`success` is measured by the probe on dev instances, and no probe plays this game in this stage: there is "
        "none, it comes later than the stage ends, or it leaves the game out.",
        "stages: [{name: play, type: grpo, play: ttt, until: {success: {game: ttt, at_least: 0.9}, max_steps: 100}}]",
        "Add `evaluation: {probe: {every: 20}}` with an `every` of at most `max_steps`, or name a game that is probed.",
    ),
    "checkpoint-missing": Code(
        "error",
        "`evaluation.final.checkpoints` names a checkpoint that there will never be: a step beyond the end of the last "
        "stage, or `best` where no probe says which one that is.",
        "evaluation: {final: {checkpoints: [best]}}",
        "Name a step of the last stage, or `final`; for `best` add `evaluation: {probe: {every: 20}}`.",
    ),
    "in-turn-nested": Code(
        "error",
        "`in_turn` alternates whole steps, so it stands only at the top of a stage.",
        "stages: [{name: play, type: grpo, play: {all_of: [ttt, {in_turn: [ttt, ttt]}]}, until: {steps: 10}}]",
        "Use `any_of` there, or make the `in_turn` the stage's `play`.",
    ),
    "blocks-length": Code(
        "error",
        "`blocks` of an `in_turn` has another length than its parts.",
        "stages: [{name: play, type: grpo, play: {in_turn: [ttt, ttt], blocks: [3]}, until: {steps: 10}}]",
        "Write one number of steps for each part.",
    ),
    "composition-too-large": Code(
        "error",
        "With its names written out a composition stands for more than 512 games, or is more than 16 deep.",
        "games: {ttt: {type: tictactoe, opponents: random}, a: {all_of: [b, b]}, b: {all_of: [c, c]}, "
        "c: {all_of: [d, d]}, d: {all_of: [e, e]}, e: {all_of: [f, f]}, f: {all_of: [g, g]}, g: {all_of: [h, h]}, "
        "h: {all_of: [i, i]}, i: {all_of: [ttt, ttt, ttt]}}",
        "Nest fewer names.",
    ),
    "weight-schedule": Code(
        "error",
        "A weight that changes with the step stands outside `any_of`, its steps do not rise, or it is always 0; or at "
        "some step every part of an `any_of` weighs 0, so that nothing says what that step plays.",
        "stages:\n  - name: play\n    type: grpo\n    until: {steps: 10}\n"
        "    play: {all_of: [ttt, {play: ttt, weight: [[0, 1], [5, 2]]}]}",
        "Write one number, or use it in `any_of` with rising steps, and keep one of its parts above 0.",
    ),
    "conjunction-of-draws": Code(
        "warning",
        "A reward that asks for every part at once (`product`, `min`, `geometric`) is over games that can end in a "
        "draw, which counts as half a success.",
        "stages: [{name: play, type: grpo, play: {all_of: [ttt, ttt], reward: product}, until: {steps: 10}}]",
        "Say what a draw counts as: `reward: {draw: 0}` or `{draw: 1}` of the game.",
    ),
    "credit-not-additive": Code(
        "error",
        "`credit` splits a return into the outcomes of parts, and the composition does not add them up.",
        "stages: [{name: play, type: grpo, play: {all_of: [ttt, ttt], reward: min}, until: {steps: 10}}]\n"
        "algorithm: {credit: segment}",
        "Use `credit: trajectory`, or a reward of mean, sum, weighted or difficulty, without a gate.",
    ),
    "history-needed": Code(
        "error",
        "Evaluation asks for prompts without history, and a game tells its players only what is new since their last "
        "turn (TextArena): no prompt of it could hold the whole state.",
        "games: {ttt: {type: textarena, env: TicTacToe-v0, opponents: bot}}\n"
        'opponents: {bot: {type: scripted, replies: ["[4]"]}}\n'
        "evaluation: {history: none}",
        "Write `history: full`, or leave the game to a spec of its own.",
    ),
    "evaluation-sampling": Code(
        "warning",
        "`rollout` was given another token limit or temperature, and evaluation has its own, which were left at their "
        "defaults: prompts of evaluation then name another limit than those of training, and answers may be longer "
        "than any that was trained. Nothing is said where benchmarks are asked, which share that sampling.",
        "rollout: {max_tokens_per_turn: 20}\nevaluation: {final: {rounds: 100}}",
        "Write `evaluation.sampling`: the values of training, or the defaults if they are meant.",
    ),
    "snapshot-never-taken": Code(
        "warning",
        "A snapshot opponent takes its snapshots at intervals longer than every stage. Steps are counted within a "
        "stage, so none is ever taken, and whoever plays before the first one plays to the end.",
        "opponents: {past: {type: snapshot, every: 50}}\ngames: {ttt: {type: tictactoe, opponents: past}}",
        "Write an `every` that a stage reaches.",
    ),
    "best-not-kept": Code(
        "warning",
        "`from_run` asks for the best model of a run whose plan, which is on this machine, has no probe to find it by, "
        "or does not name `best` among the checkpoints of its final evaluation.",
        "model: {from_run: {run: runs/warmup/1a2b3c4d-1, step: best}}",
        "Start from `final`, or from a step that the run kept.",
        run=False,
    ),
    "no-effect": Code(
        "warning",
        "A key was written whose value changes nothing beside the others.",
        "algorithm: {discount: 0.9}",
        "Remove it, or set what it needs; the message says what.",
    ),
    "dual-clip-low": Code(
        "error",
        "`dual_clip` is below `1 + clip_high`. It bounds ratios under negative advantages, which the clip leaves "
        "unbounded above; below the clip it would cut the ratios of positive advantages too, before `clip_high` does.",
        "algorithm: {dual_clip: 1.1}",
        "Write a number of at least `1 + clip_high` (3 is usual), or `off`.",
    ),
    "warmup-too-long": Code(
        "warning",
        "The learning rate rises for as long as the stage or its schedule lasts, or longer: the rate that was written "
        "holds in no step, or in the last alone.",
        "algorithm: {warmup_steps: 50}",
        "Write fewer `warmup_steps` than the stage and its schedule have steps.",
    ),
    "batch-arithmetic": Code(
        "error",
        "Groups, trajectories, mini-batches, processes and micro-batches do not divide. A step is never rounded.",
        "algorithm: {mini_batch_size: 7}",
        "The hint names numbers that fit.",
    ),
    "not-with-zero": Code(
        "error",
        "Muon works on whole matrices, and DeepSpeed (ZeRO) cuts the weights into pieces that are none. Nor is its "
        "optimizer carried from stage to stage.",
        "stages: [{name: play, type: grpo, play: ttt, until: {steps: 10}}]\n"
        "algorithm: {optimizer: muon}\nresources: {processes: 2, sharding: zero2}",
        "Spread the weights with `sharding: fsdp`, or use `optimizer: adamw` and start every stage with a new one.",
    ),
    "mixed-temperatures": Code(
        "error",
        "Games of one stage are sampled at different temperatures. Log-probabilities are those of the sampled "
        "distribution, and an update needs those of one.",
        "games:\n  cool: {type: tictactoe, opponents: random, rollout: {sampling: {temperature: 0.7}}}\n"
        "  warm: {type: tictactoe, opponents: random}\n"
        "stages: [{name: play, type: grpo, play: {all_of: [cool, warm]}, until: {steps: 10}}]",
        "Use one temperature in a stage, or play the games in stages of their own.",
    ),
    "bf16-weights": Code(
        "error",
        "Weights are stored in bf16 at a learning rate below 1e-5. bf16 has 8 bits of precision: most updates round to "
        "no change.",
        "model: {source: tiny, weights: bf16}\nalgorithm: {learning_rate: 1.0e-06}",
        "Leave `weights` at fp32; `precision: bf16` computes in bf16 all the same.",
    ),
    "budget-below-part": Code(
        "error",
        "A part has fewer turns than the games in it need.",
        "stages: [{name: play, type: grpo, play: {all_of: [ttt, {play: ttt, max_turns: 2}]}, until: {steps: 10}}]",
        "Write the number that the hint names, or leave it out: every part then has its own turns.",
    ),
    "budget-below-horizon": Code(
        "warning",
        "A game has fewer turns than it may need, so that some plays end unfinished, as truncated.",
        "games: {ttt: {type: tictactoe, opponents: random, max_turns: 3}}",
        "Raise `max_turns`, or leave it out.",
    ),
    "budget-exceeds-context": Code(
        "error",
        "The turns of a stage may sample more tokens in one sequence than the context holds, before any prompt.",
        "rollout: {max_tokens_per_turn: 600, max_context: 1000}",
        "Lower `max_tokens_per_turn` or `max_turns` of a part, or give the parts a fresh context.",
    ),
    "context-estimate": Code(
        "warning",
        "With its prompts, a trajectory may be longer than the context. Prompt lengths are estimates until a tokenizer "
        "is loaded.",
        "rollout: {max_tokens_per_turn: 150, max_context: 1000}",
        "Lower `max_tokens_per_turn`, or use a shorter wording.",
    ),
    "unpinned": Code(
        "warning",
        "A model or dataset of the hub is named without a commit; it may be another one tomorrow. A branch (`main`) "
        "or a tag is no commit: both may be moved.",
        "model: {source: Qwen/Qwen2.5-0.5B-Instruct}",
        "Add `revision` with the 40 digits of a commit.",
    ),
    "url-without-path": Code(
        "warning",
        "The address of an endpoint ends with its host. `/chat/completions` is put after it as it is, and most "
        "OpenAI-compatible servers (vLLM, OpenAI, OpenRouter) answer below `/v1` or `/api/v1`.",
        "opponents: {m: {type: openai, base_url: 'http://localhost:8000', model: m}}\n"
        "games: {ttt: {type: tictactoe, opponents: m}}",
        "Write the path, e.g. http://localhost:8000/v1.",
    ),
    "limit-without-price": Code(
        "error",
        "A limit on money cannot be kept for an endpoint that has no price.",
        "opponents: {m: {type: openai, base_url: http://localhost/v1, model: m}}\n"
        "games: {ttt: {type: tictactoe, opponents: m}}\nlimits: {opponent_usd: 5}",
        "Add `usd_per_mtok: {input: 0, output: 0}` with the endpoint's prices.",
    ),
    "key-at-foreign-host": Code(
        "error",
        "A well-known key is paired with a host that it does not belong to. A shared spec chooses both, and could so "
        "send any of your keys anywhere.",
        "opponents: {m: {type: openai, base_url: http://example.org/v1, model: m, api_key_env: OPENAI_API_KEY}}",
        "Name the key of that host, or correct `base_url`.",
    ),
}

_ENDPOINTS: Final[Mapping[str, Code]] = {
    "key-without-encryption": Code(
        "error",
        "A well-known key would go over http://, where anybody on the way can read it. A run refuses that, too.",
        "opponents: {m: {type: openai, base_url: http://api.openai.com/v1, model: m, api_key_env: OPENAI_API_KEY}}",
        "Write https://.",
    ),
    "owned-key": Code(
        "error",
        "`extra_body` of an opponent gives a field of the request that the opponent's own fields give, or gift does: "
        "`model`, `messages`, `temperature`, `top_p`, `max_tokens`, `seed`, `stream`, and `enable_thinking` beside "
        "`thinking`. These are locked with the plan, and the body's would win without a word.",
        "opponents: {m: {type: openai, base_url: http://localhost/v1, model: m, extra_body: {temperature: 2}}}",
        "Write it beside `extra_body`.",
    ),
}

_TEMPLATES: Final[Mapping[str, Code]] = {
    "template-syntax": Code(
        "error",
        "A prompt template is not Jinja2.",
        'games: {ttt: {type: tictactoe, opponents: random, prompt: {template: "{% if turn %}"}}}',
        "The message says what Jinja2 expected, with the line inside the template.",
    ),
    "template-forbidden": Code(
        "error",
        "A prompt template uses something of Jinja2 that is not on the short list: a call, an assignment, `*`, an "
        "unlisted filter. A template comes with a shared spec, and must not take hours or gigabytes to render.",
        "games: {ttt: {type: tictactoe, opponents: random, prompt: {template: \"{{ 'a' * 999 }}\"}}}",
        "Use `if`, `for`, variables, comparisons, `+`, `-`, `~` and the listed filters.",
    ),
    "template-unknown-variable": Code(
        "error",
        "A prompt template reads a variable that its game does not have.",
        'games: {ttt: {type: tictactoe, opponents: random, prompt: {template: "{{ bord }}"}}}',
        "The hint names the nearest of them.",
    ),
}

GROUPS: Final[Mapping[str, Mapping[str, Code]]] = MappingProxyType(
    {
        "Files": _FILES,
        "YAML": _YAML,
        "Variables, `--set` and sweeps": _FILLING,
        "Keys and values": _SHAPE,
        "Names": _NAMES,
        "Seats and players": _SEATS,
        "Meaning": _MEANING,
        "Benchmarks": _TASKS,
        "Endpoints": _ENDPOINTS,
        "Prompt templates": _TEMPLATES,
    }
)
CODES: Final[Mapping[str, Code]] = MappingProxyType(
    {name: code for group in GROUPS.values() for name, code in group.items()}
)
