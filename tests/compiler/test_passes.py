"""Each semantic pass by one spec that trips it and what the message must show."""

from __future__ import annotations

from pathlib import Path

import pytest

from gift_dsl.compiler.evaluation import needs_loglikelihood

CASES = [
    (["games.spy.opponents=[random, random]"], "seats", "3 other seats, but 2 opponents"),
    (["games.tictactoe.opponents=null"], "missing-opponents", "`tictactoe` has 2 seats"),
    (["games.tictactoe.opponents={}"], "missing-opponents", "`tictactoe` has 2 seats"),
    (
        [
            "stages[main].play={any_of: [{play: sums, weight: [[0, 1], [9, 0]]}, {play: matrix, "
            "weight: [[3, 1], [7, 0]]}]}"
        ],
        "weight-schedule",
        "at step 9 of stage `main`, whose steps are 0 to 9, every part of an `any_of` weighs 0",
    ),
    (["stages[main].play={any_of: [{play: sums, weight: 1.0e+308}]}"], "out-of-range", "at most 1000000"),
    (["games.sums.opponents=random"], "seats", "`sums` is played alone"),
    (["games.tictactoe.trainee={seat: 2}"], "seats", "there is no seat 2"),
    (["games.tictactoe.trainee={seat: all}"], "seats", "is played by trained seats only"),
    (["games.spy.trainee={role: spion}"], "unknown-role", "no role `spion`; its roles are `spy`, `civilian`"),
    (["games.spy.opponents={spy: random}"], "seats", "nobody is named for the role `civilian`"),
    (["games.spy.opponents={spy: random, civilan: random}"], "unknown-role", "no role `civilan`"),
    (
        ["games.tictactoe.opponents=clue"],
        "opponent-cannot-play",
        "`clue` has type `clue`, which cannot play `tictactoe`",
    ),
    (["games.tictactoe.opponents=human"], "human-opponent", "a run cannot wait"),
    (
        ["opponents.p={type: pool, members: [clue]}", "games.tictactoe.opponents=p"],
        "opponent-cannot-play",
        "`clue`, whom `p` may seat, has type `clue`",
    ),
    (["algorithm.mini_batch_size=5"], "batch-arithmetic", "8 groups x 4 = 32 trajectories"),
    (["resources.processes=3"], "batch-arithmetic", "8 groups a step in stage `main` cannot be dealt whole to 3"),
    (["resources.micro_batch_size=5"], "batch-arithmetic", "32 sequences, which 1 processes x micro-batches of 5"),
    (["rollout.max_context=100"], "budget-exceeds-context", "may sample 200 tokens in one sequence, more than the 100"),
    (["rollout.max_context=2000"], "budget-exceeds-context", "tiny was made for at most 1024"),
    (["rollout.max_tokens_per_turn=110"], "budget-exceeds-context", "may sample 1100 tokens"),
    (
        ["stages[main].play={play: {all_of: [sums, matrix, tictactoe]}, max_turns: 6}"],
        "budget-below-part",
        "6 turns where 7 are needed (sums 1 + matrix 1 + tictactoe 5)",
    ),
    (["stages[main].play={play: tictactoe, max_turns: 4}"], "budget-below-part", "4 turns where 5 are needed"),
    (["algorithm.credit=segment", "games.all.reward=product"], "credit-not-additive", "aggregates them by `product`"),
    (["algorithm.credit=to_go", "games.all.gate=complete"], "credit-not-additive", "pays all or nothing"),
    (["model.weights=bf16"], "bf16-weights", "learning rate 1e-06 of stage `main`"),
    (["model={source: null, from_run: null}"], "model-source", "none of them is given"),
    (["model.from_run={run: x}"], "model-source", "given are `source` and `from_run`"),
    (["model.lora={target_modules: [q_prj]}"], "unknown-lora-target", "tiny has no linear layer `q_prj`"),
    (["model={source: ./m, tiny: {heads: 2}}"], "tiny-without-source", "`model.source` is `./m`"),
    (["model.tiny={hidden_size: 90, heads: 4}"], "bad-params", "not a multiple of `heads: 4`"),
    (["stages[main].until={steps: 5, policy_tokens: 9}"], "until-condition", "given are `steps` and `policy_tokens`"),
    (["stages[main].until={steps: null}"], "until-condition", "none of them is given"),
    (["stages[main].until={steps: null, policy_tokens: 9}"], "until-max-steps", "`max_steps` is missing"),
    (
        ["stages[main].until={steps: null, max_steps: 9, success: {game: sums, at_least: 0.5}}"],
        "until-needs-probe",
        "`evaluation.probe` is not given",
    ),
    (["evaluation.final.opponents={sums: random}"], "seats", "`sums` is played alone"),
    (["evaluation.final.opponents={smus: random}"], "unknown-game", "game `smus` is not defined"),
    (["evaluation.benchmarks=[mmlu, mmlu]"], "duplicate-benchmark", "listed twice"),
    (["evaluation.benchmarks=[{type: commongen, judge: random}]"], "judge-not-a-model", "has type `random`"),
    (["evaluation.subjects=[random]"], "subject-not-a-model", "cannot be evaluated as a model"),
    (["games.sums.prompt={template: '{{ x.__class__ }}'}"], "template-forbidden", ""),
    (["games.sums.prompt={template: '{{ questoin }}'}"], "template-unknown-variable", "questoin"),
    (["games.sums.prompt={template: '{{ question', wording: compact}"], "template-syntax", ""),
    (["games.sums.prompt={template: x, file: y}"], "prompt-source", "both"),
    (["games.sums.prompt.file=../x.j2"], "prompt-file-outside", "leaves the project folder"),
    (["games.tictactoe.connect=9"], "bad-params", "`connect` is 9"),
    (["model.chat_template=none.jinja"], "chat-template-missing", "there is no file"),
]


@pytest.mark.parametrize(("sets", "code", "words"), CASES, ids=[f"{code}: {sets[0][:50]}" for sets, code, _ in CASES])
def test_a_wrong_spec_is_refused_with_the_value_that_caused_it(check, sets, code, words):
    errors = [item for item in check(*sets).diagnostics if item.severity == "error"]
    assert code in {item.code for item in errors}
    assert any(words in item.message for item in errors if item.code == code)
    assert all(item.span.line >= 1 and item.span.column >= 1 for item in errors)


API = (
    "opponents.api={type: openai, base_url: 'https://openrouter.ai/api/v1', model: m, api_key_env: OPENROUTER_API_KEY}"
)

ENDPOINTS = [
    ([API, "opponents.api.api_key_env=OPENAI_API_KEY"], "key-at-foreign-host", "belongs to api.openai.com"),
    (
        [API, "opponents.api.base_url='https://openrouter.ai/v1?token=0123456789'"],
        "secret-in-spec",
        "holds a secret: `token`",
    ),
    ([API, "opponents.api.base_url='http://openrouter.ai/v1'"], "key-without-encryption", "OPENROUTER_API_KEY"),
    ([API, "opponents.api.extra_body={top_p: 0.1}"], "owned-key", "the field `top_p` of the opponent"),
    ([API, "limits.opponent_usd=5"], "limit-without-price", "`api` has no price"),
    ([API, "opponents.api.base_url='https://user@openrouter.ai/v1'"], "secret-in-spec", "user name or password"),
    (
        [API, "evaluation.subjects=[api]", "evaluation.benchmarks=[{type: lm_eval, task: mmlu}]"],
        "loglikelihood-on-chat",
        "the chat API of `api`",
    ),
]


@pytest.mark.parametrize(("sets", "code", "words"), ENDPOINTS, ids=[code for _, code, _ in ENDPOINTS])
def test_an_endpoint_that_cannot_be_used_is_refused(check, sets, code, words):
    found = {item.code: item.message for item in check(*sets, "games.tictactoe.opponents=api").diagnostics}
    assert words in found[code]


WARNINGS = [
    (["games.x={type: arithmetic}"], "unused", "`x` is defined but is never played"),
    (["opponents.x={type: random}"], "unused", "`x` is defined but is never met"),
    (["games.all.reward=product"], "conjunction-of-draws", "`tictactoe` can end in a draw, which is worth 0.5"),
    (["algorithm.discount=0.9"], "no-effect", "`credit` is `trajectory`"),
    (["algorithm.baseline=role"], "no-effect", "divides by nothing"),
    (["games.tictactoe.max_turns=4"], "budget-below-horizon", "may need 5 turns and has 4"),
    (["model={source: org/model}"], "unpinned", "org/model is not pinned"),
    (["model={source: org/model, revision: main}"], "unpinned", "`main` of model org/model is no commit"),
    (["games.sums={type: math, generate: null, dataset: {source: a/b}}"], "unpinned", "dataset a/b is not pinned"),
    (["opponents.l={type: local, source: a/b}", "games.tictactoe.opponents=l"], "unpinned", "model a/b is not pinned"),
]


@pytest.mark.parametrize(
    ("sets", "code", "words"), WARNINGS, ids=[f"{code}: {sets[0][:40]}" for sets, code, _ in WARNINGS]
)
def test_a_doubtful_spec_is_accepted_with_a_warning(check, sets, code, words):
    checked = check(*sets)
    assert checked.ok
    assert any(item.code == code and words in item.message for item in checked.diagnostics)


def test_the_base_spec_has_nothing_wrong(check):
    assert check().diagnostics == ()


def test_a_draw_that_counts_as_a_loss_makes_a_strict_conjunction_plain(codes):
    assert "conjunction-of-draws" not in codes("games.all.reward=product", "games.tictactoe.reward={draw: 0.0}")


def test_bf16_weights_are_fine_at_a_rate_that_moves_them_and_under_lora(codes):
    assert codes("model.weights=bf16", "algorithm.learning_rate=1e-4") == []
    assert codes("model.weights=bf16", "model.lora={rank: 8}") == []


def test_adapters_may_be_named_by_their_layer_or_by_their_path(codes):
    assert codes("model.lora={target_modules: [q_proj, self_attn.v_proj]}") == []


def test_errors_of_several_passes_are_told_at_once(codes):
    found = codes(
        "games.spy.opponents=[random]", "stages[main].until={steps: null}", "evaluation.benchmarks=[mmlu, mmlu]"
    )
    assert sorted(found) == ["duplicate-benchmark", "seats", "until-condition"]


def test_two_stages_of_one_name_are_told_with_the_place_of_the_first(check):
    text = (
        "[{name: a, type: grpo, play: sums, until: {steps: 1}}, {name: a, type: grpo, play: sums, until: {steps: 1}}]"
    )
    (found,) = [item for item in check(f"stages={text}").diagnostics if item.code == "duplicate-stage"]
    assert found.notes[0].span.column < found.span.column


def test_a_member_of_a_pool_may_not_be_the_pool(codes):
    pool = "opponents.p={type: pool, members: [p, random]}"
    assert "opponent-cycle" in codes(pool, "games.tictactoe.opponents=p")


def test_a_name_that_nothing_defines_points_at_the_nearest_definition(check):
    (found,) = [
        d
        for d in check("games.tictactoe.opponents=rivl", "opponents.rival={type: random}").diagnostics
        if d.code == "unknown-opponent"
    ]
    assert found.hint == "did you mean `rival`?"
    assert "`rival` is defined here" in found.notes[0].message


def idle(checked) -> set[tuple[str, str]]:
    return {(item.code, item.path) for item in checked.diagnostics if item.code in ("unused", "no-effect")}


def test_what_one_arm_of_a_sweep_uses_is_not_called_unused(check):
    arms = ["games.x={type: arithmetic}", "games.y={type: arithmetic}", "opponents.o={type: minimax}"]
    swept = 'sweep={axes: {"stages[main].play": [all, x], "games.tictactoe.opponents": [random, o]}}'
    assert idle(check(*arms, swept)) == {("unused", "games.y")}
    assert {("unused", "games.x"), ("unused", "opponents.o")} <= idle(check(*arms))


def test_a_key_that_does_nothing_in_some_arms_of_a_sweep_does_something(check):
    swept = "sweep={axes: {algorithm.credit: [trajectory, discount]}}"
    assert idle(check("algorithm.discount=0.9", swept)) == set()
    swept = "sweep={axes: {algorithm.baseline: [group, role]}}"
    assert idle(check(swept)) == {("no-effect", "algorithm.baseline")}, "the arm itself is at fault"


@pytest.mark.parametrize(
    "task",
    [
        "coqa",
        "gsm_plus",
        "eq_bench",
        "niah_single_1",
        "babi",
        "mgsm_direct_bn",
        "gsm8k",
        "mmlu_generative",
        "drop",
        "bigbench_emojis_generate_until",
    ],
)
def test_tasks_that_ask_for_text_can_be_asked_of_a_chat_api(task):
    assert needs_loglikelihood(task) is False


@pytest.mark.parametrize(
    "task",
    ["mmlu", "mathqa", "leaderboard_mmlu_pro", "hellaswag", "wikitext", "squadv2", "blimp"],
)
def test_tasks_that_score_continuations_cannot(task):
    assert needs_loglikelihood(task) is True


def test_nothing_is_known_of_a_task_that_lm_eval_does_not_have():
    assert needs_loglikelihood("my_own_task") is None


@pytest.mark.slow
def test_the_list_of_tasks_is_that_of_the_installed_lm_eval(tmp_path):
    pytest.importorskip("lm_eval")
    from scripts import list_lm_eval_tasks as script

    kinds = script.Tasks(Path(script.find_spec("lm_eval").origin).parent / "tasks").all()
    assert len(kinds) > 10_000
    assert {name for name, kind in kinds.items() if needs_loglikelihood(name) is not (kind == script.SCORES)} == set()
