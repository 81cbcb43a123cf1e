"""Prompts as texts: shipped wordings inlined, own templates checked under the allow-list."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gift_dsl.compiler.context import BoundGame, Context, Loc
from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import PromptPlan
from gift_dsl.prompts.library import COMMON, VARIABLES, load_template, shipped_templates
from gift_dsl.spec.models.games import PromptSpec

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


def own_template(context: Context, prompt: PromptSpec) -> str | None:
    """The template that the spec itself brings, inline or as a file beside it."""
    if prompt.file is not None:
        return (context.folder / prompt.file).read_text(encoding="utf-8")
    return prompt.template


def compile_prompt(context: Context, game: BoundGame) -> PromptPlan:
    """The texts of a game's prompts."""
    prompt, answer = game.spec.prompt, game.spec.answer
    own = own_template(context, prompt)
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
        if prompt.file is not None and prompt.template is not None:
            message = f"`games.{name}.prompt` has both a `template` and a `file`"
            yield context.finding("prompt-source", message, (*path, "file"), at_key=True, hint="remove one of them")
        elif prompt.file is not None:
            yield from _file(context, (*path, "file"), prompt.file, variables(game))
        elif prompt.template is not None:
            yield from _inline(context, (*path, "template"), prompt.template, variables(game))
        if prompt.answer is not None:
            yield from _inline(context, (*path, "answer"), prompt.answer, ANSWER_VARIABLES)


def _inline(context: Context, path: Loc, text: str, known: frozenset[str]) -> Iterator[Diagnostic]:
    """Problems of a template inside the spec: line in the file = line of the block + line in the template."""
    from gift_dsl.prompts.subset import check_template

    node = context.tree.at(path)
    block = node is not None and node.style in ("literal", "folded")
    for problem in check_template(text, known):
        span = context.span(path)
        if node is not None and block:
            line = node.span.line + problem.line
            span = Span(span.file, line, 1, line, 1)
        elif problem.line > 1:
            span = Span(span.file, span.line + problem.line - 1, 1, span.line + problem.line - 1, 1)
        finding = context.finding(problem.code, problem.message, path, hint=problem.hint)
        yield Diagnostic(finding.code, finding.message, span, "error", finding.hint, finding.path)


def _file(context: Context, path: Loc, file: str, known: frozenset[str]) -> Iterator[Diagnostic]:
    from gift_dsl.prompts.subset import check_template

    try:
        text = _read(context.folder, file)
    except (OSError, ValueError) as error:
        yield context.finding("prompt-file", f"the template file `{file}` cannot be read: {error}", path)
        return
    for problem in check_template(text, known):
        message = f"{file}:{problem.line}: {problem.message}"
        yield context.finding(problem.code, message, path, hint=problem.hint)


def _read(folder: Path, file: str) -> str:
    """A text file below the spec's folder.

    Raises:
        OSError: it is not there, or not a regular file.
        ValueError: the path leaves the folder, or the file is too large or not UTF-8.
    """
    root, path = folder.resolve(), (folder / file).resolve()
    if not path.is_relative_to(root):
        raise ValueError("it lies outside the spec's folder")
    if not path.is_file():
        raise FileNotFoundError("no such file")
    if path.stat().st_size > 1 << 20:
        raise ValueError("it is larger than 1 MiB")
    return path.read_text(encoding="utf-8")
