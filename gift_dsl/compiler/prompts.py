"""Prompts as texts: shipped wordings inlined, own templates checked under the allow-list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from gift_dsl.compiler.context import BoundGame, Context, Loc
from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.plan import PromptPlan
from gift_dsl.prompts.library import COMMON, VARIABLES, load_template, shipped_templates
from gift_dsl.spec.node import Node

ANSWER_VARIABLES: Final = frozenset({"max_tokens", "think", "tag"})


def variables(game: BoundGame) -> frozenset[str]:
    """What a template of this game may read."""
    return VARIABLES.get(game.family.name) or COMMON | game.family.variables


def _observations(game: BoundGame) -> tuple[str, ...]:
    """The shipped texts of a wording, or the family's own."""
    base, shipped = game.family.name, shipped_templates()
    if base not in shipped:
        return (game.family.prompt,)
    names = {
        "standard": (base,),
        "compact": (f"{base}.compact" if f"{base}.compact" in shipped else base,),
        "varied": tuple(name for name in (base, *(f"{base}.{n}" for n in range(2, 10))) if name in shipped),
    }
    return tuple(load_template(name) for name in names[game.spec.prompt.wording])


def compile_prompt(context: Context, game: BoundGame) -> PromptPlan:
    """The texts of a game's prompts."""
    prompt, answer = game.spec.prompt, game.spec.answer
    own = prompt.template  # that of a file has been inlined
    compact = ".compact" if prompt.wording == "compact" else ""
    return PromptPlan(
        observations=(own,) if own is not None else _observations(game),
        answer=prompt.answer if prompt.answer is not None else load_template(f"answer_tag{compact}"),
        tag=answer.tag,
        think=answer.think,
    )


def system_prompt(context: Context, stage: int) -> str:
    """The one system prompt of a stage; none where every game of the spec is worded for tiny models."""
    wordings = {game.spec.prompt.wording for game in context.games.values()}
    return "" if wordings == {"compact"} else load_template("system").strip()


def check(context: Context) -> Iterator[Diagnostic]:
    """Own templates, before anything is rendered."""
    for name, game in context.games.items():
        path: Loc = ("games", name, "prompt")
        prompt = game.spec.prompt
        if prompt.template is not None:
            yield from _inline(context, (*path, "template"), prompt.template, variables(game))
        if prompt.answer is not None:
            yield from _inline(context, (*path, "answer"), prompt.answer, ANSWER_VARIABLES)


def _inline(context: Context, path: Loc, text: str, known: frozenset[str]) -> Iterator[Diagnostic]:
    """Problems of a template, at their line where the file has the template's lines as they are."""
    from gift_dsl.prompts.subset import check_template

    for problem in check_template(text, known):
        finding = context.finding(problem.code, problem.message, path, hint=problem.hint)
        node = context.tree.at(path)
        if node is not None and node.origin is not None:
            written = replace(node, span=node.origin, origin=None)
            note = Note("the text comes from here", line_span(written, problem.line) or node.origin)
            yield replace(finding, notes=(note,))
        else:
            yield replace(finding, span=(line_span(node, problem.line) if node else None) or finding.span)


def line_span(node: Node, line: int) -> Span | None:
    """Where a line of a text (from 1) was written; None where the lines of the text are not those of the file.

    They are in a `|` block and in a template file; quotes and folding put a text together otherwise.
    """
    if not (node.style == "literal" or node.raw == node.text):
        return None
    lines = node.raw.splitlines()
    index = line if node.style == "literal" else line - 1  # the first line of a block is its `|`
    if index >= len(lines):
        return None
    number, written = node.span.line + index, lines[index]
    start = node.span.column - 1 if index == 0 else 0
    first = start + len(written) - len(written.lstrip())
    return Span(node.span.file, number, first + 1, number, start + len(written.rstrip()) + 1)
