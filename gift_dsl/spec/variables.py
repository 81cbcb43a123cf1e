"""Variables: `${vars.NAME}` in any text of a spec.

A text that is only the reference takes the variable's value with its type; inside other text the value is written
out. `$$` is a dollar sign. There are no expressions, no nesting, and no other source: a spec that read the
environment would mean different things on different machines, and would carry secrets into artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.spec.node import CHARACTERS_PER_NODE, Node, mapping, scalar, sequence
from gift_dsl.spec.source import MAX_NODES
from gift_dsl.spec.suggest import did_you_mean

# A megabyte of `${` is not told half a million times.
_MAX_FINDINGS: Final = 1000
_MAX_NOTES: Final = 8
_TOKEN: Final = re.compile(r"\$\$|\$\{([^{}]*)\}|\$\{")
_NAME: Final = re.compile(r"vars\.([A-Za-z_][A-Za-z0-9_-]*)")
_LIKE_VARS: Final = re.compile(r"\s*vars?\b", re.IGNORECASE)
_ENVIRONMENT: Final = re.compile(r"(?:env[.:])?([A-Z][A-Z0-9_]*)")


class Filling:
    """Fills the variables of one run into trees, and remembers what it met.

    Attributes:
        used: names of the variables that were asked for, defined or not.
        diagnostics: unknown-var, nested-var, var-syntax, var-type, env-in-spec.
    """

    def __init__(self, variables: Node | None) -> None:
        self.used: set[str] = set()
        self.diagnostics: list[Diagnostic] = []
        self._variables: Mapping[str, Node] = variables.fields if variables else {}
        # Aliases share nodes: each is filled once, so that a small file cannot cost a large walk.
        self._done: dict[int, tuple[Node, Node]] = {}
        # Its finding, by the name of the variable; None where it does not nest.
        self._nested: dict[str, int | None] = {}
        self._budget = MAX_NODES * CHARACTERS_PER_NODE
        self._spent = False

    def fill(self, node: Node) -> Node:
        """The tree with every reference replaced; the same node where there is none."""
        if node.text is not None:
            return self._text(node, node.text) if "$" in node.text else node
        if node.kind not in ("map", "list"):
            return node
        known = self._done.get(id(node))
        if known is None:
            known = self._done[id(node)] = (node, self._map(node) if node.kind == "map" else self._list(node))
        return known[1]

    def _map(self, node: Node) -> Node:
        fields = {key: self.fill(child) for key, child in node.fields.items()}
        for key in fields:
            if "${" in key:
                self.used.update(_NAME.findall(key))
                self._report("var-syntax", "a key cannot hold `${...}`", node.key_spans[key], "write the key out")
        if all(fields[key] is child for key, child in node.fields.items()):
            return node
        return mapping(fields, node.span, node.key_spans, node.style, node.origin)

    def _list(self, node: Node) -> Node:
        items = tuple(self.fill(item) for item in node.items)
        if all(new is old for new, old in zip(items, node.items, strict=True)):
            return node
        return sequence(items, node.span, node.style, node.origin)

    def _text(self, node: Node, text: str) -> Node:
        whole = _TOKEN.fullmatch(text)
        if whole and whole[1] is not None:
            value = self._value(node, whole)
            return node if value is None else value.placed(node.span)
        if not _TOKEN.search(text):
            return node
        filled = _TOKEN.sub(lambda match: self._inside(node, match), text)
        return scalar("text", filled, node.span, filled, node.style)

    def _inside(self, node: Node, match: re.Match[str]) -> str:
        """What a reference inside other text becomes."""
        if match[0] == "$$":
            return "$"
        value = self._value(node, match)
        if value is None:
            return match[0]
        if value.kind in ("map", "list"):
            message = f"`{match[0]}` is a {value.kind}, and only a single value can stand inside text"
            self._report("var-type", message, _place(node, match), None, [Note("defined here", value.span)])
            return match[0]
        return self._written(value.text if value.text is not None else value.raw, node, match)

    def _written(self, text: str, node: Node, match: re.Match[str]) -> str:
        """The text of a variable, until what was written out exceeds all that a spec may hold."""
        self._budget -= len(text)
        if self._budget >= 0:
            return text
        if not self._spent:
            self._spent = True
            self._report("yaml-bomb", "the variables expand to more text than a spec may hold", _place(node, match))
        return match[0]

    def _value(self, node: Node, match: re.Match[str]) -> Node | None:
        """The variable that a reference names, or None with a diagnostic."""
        content = match[1]
        name = _NAME.fullmatch(content) if content is not None else None
        if name is None:
            self._report(*_explain(match[0], content), _place(node, match), *_repair(content))
            return None
        self.used.add(name[1])
        value = self._variables.get(name[1])
        if value is None or value.kind == "null":
            hint = did_you_mean(name[1], self._variables) or "define it under `vars:`"
            self._report("unknown-var", f"there is no variable `{name[1]}`", _place(node, match), hint)
            return None
        self._check_nesting(name[1], value, _place(node, match))
        return value

    def _check_nesting(self, name: str, value: Node, used_at: Span) -> None:
        """One finding for each text of a variable that refers to others; the first notes who asks for the variable."""
        if name not in self._nested:
            self._nested[name] = self._find_nesting(name, value)
        number = self._nested[name]
        if number is not None and len(self.diagnostics[number].notes) < _MAX_NOTES:
            found = self.diagnostics[number]
            self.diagnostics[number] = replace(found, notes=(*found.notes, Note("it is used here", used_at)))

    def _find_nesting(self, name: str, value: Node) -> int | None:
        """The number of the first finding; None where there is none."""
        first = len(self.diagnostics)
        message = f"the variable `{name}` refers to another one, and variables do not nest"
        for text in _texts(value):
            references = [match for match in _TOKEN.finditer(text.text or "") if match[0] != "$$"]
            self.used.update(other for match in references for other in _NAME.findall(match[0]))
            if references:
                self._report("nested-var", message, _place(text, references[0]), "write the value out")
        return first if len(self.diagnostics) > first else None

    def _report(self, code: str, message: str, span: Span, hint: str | None = None, notes: Iterable[Note] = ()) -> None:
        if len(self.diagnostics) < _MAX_FINDINGS:
            self.diagnostics.append(Diagnostic(code, message, span, hint=hint, notes=tuple(notes)))


def _texts(node: Node) -> Iterable[Node]:
    if node.kind == "text":
        yield node
    for child in (*node.fields.values(), *node.items):
        yield from _texts(child)


def _explain(reference: str, content: str | None) -> tuple[str, str]:
    """Code and message for a `${...}` that names no variable."""
    if content is None:
        return "var-syntax", "`${` without `}`, or with braces inside"
    if _LIKE_VARS.match(content) or not content.strip():
        return "var-syntax", f"`{reference}` is not `${{vars.NAME}}`; there are no expressions"
    return "env-in-spec", f"`{reference}` is not filled: a spec reads nothing but its own `vars`"


def _repair(content: str | None) -> tuple[str]:
    literal = "for a literal `${` write `$${`"
    if content is None or _LIKE_VARS.match(content) or not content.strip():
        return (literal,)
    name = _ENVIRONMENT.fullmatch(content.strip())
    shown = name[1] if name else "NAME"
    return (f"a secret is given by the name of its environment variable, `api_key_env: {shown}`; {literal}",)


def _place(node: Node, match: re.Match[str]) -> Span:
    """Where the reference itself stands, if the text is written on one line as it is read."""
    span = node.span
    at = match.start() + (node.style in ("single", "double"))
    if not node.raw.startswith(match[0], at) or span.line != span.end_line:
        return span
    return Span(span.file, span.line, span.column + at, span.line, span.column + at + len(match[0]))
