"""The allow-list applied to the syntax tree of a template: every kind of node has a rule, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final

from jinja2 import TemplateSyntaxError, nodes

from gift_dsl.prompts import subset
from gift_dsl.prompts.sandbox import environment
from gift_dsl.prompts.subset import TemplateProblem, forbidden
from gift_dsl.prompts.tokens import token_problems

_STATEMENTS: Final = "a prompt may use `if`, `elif`, `else`, `for` and `raw`"

_STATEMENT_NAMES: Final[Mapping[type[nodes.Node], str]] = MappingProxyType(
    {
        nodes.Assign: "set",
        nodes.AssignBlock: "set",
        nodes.Block: "block",
        nodes.CallBlock: "call",
        nodes.ScopedEvalContextModifier: "autoescape",
        nodes.Extends: "extends",
        nodes.FilterBlock: "filter",
        nodes.FromImport: "from … import",
        nodes.Import: "import",
        nodes.Include: "include",
        nodes.Macro: "macro",
        nodes.Scope: "autoescape",
        nodes.With: "with",
    }
)
_EXPRESSION_NAMES: Final[Mapping[type[nodes.Node], str]] = MappingProxyType(
    {
        nodes.Dict: "a `{…}` literal",
        nodes.Mod: "the operator `%`",
        nodes.Mul: "the operator `*`",
        nodes.Pow: "the operator `**`",
    }
)
_TEXT_FILTERS: Final = frozenset({"capitalize", "flatten", "join", "lower", "title", "trim", "upper"})
"""Filters that give a text or a list."""
_SUBSCRIPT: Final = (nodes.Add, nodes.Const, nodes.Getattr, nodes.Getitem, nodes.Name, nodes.Neg, nodes.Sub)


def find_problems(text: str, variables: frozenset[str] | None) -> list[TemplateProblem]:
    """See `subset.check_template`. Without `variables` any variable is taken to be known."""
    size = len(text.encode(errors="replace"))
    if size > subset.MAX_TEXT_BYTES:
        return [forbidden(1, f"the template has {size} bytes; at most {subset.MAX_TEXT_BYTES} are allowed")]
    try:
        problems = list(token_problems(text))
        if problems:
            return problems
        tree = environment().parse(text)
    except TemplateSyntaxError as error:
        hint = _STATEMENTS if "unknown tag" in str(error.message) else None
        return [TemplateProblem(error.lineno, f"{error.message}".rstrip(". "), hint, "template-syntax")]
    walk = _Walk()
    walk.visit(tree, _Scope(variables))
    return sorted(dict.fromkeys(walk.problems), key=lambda problem: problem.line)


@dataclass(frozen=True, slots=True)
class _Scope:
    """What can be read at a place: `names` (None: anything), and `loop` inside the body of a loop."""

    names: frozenset[str] | None
    has_loop: bool = False
    num_loops: int = 0
    depth: int = 0
    line: int = 1

    def with_names(self, targets: Iterable[str]) -> _Scope:
        return self if self.names is None else replace(self, names=self.names | set(targets))


@dataclass(slots=True)
class _Walk:
    problems: list[TemplateProblem] = field(default_factory=list[TemplateProblem])
    num_nodes: int = 0
    num_concatenated: int = 0

    def visit(self, node: nodes.Node, scope: _Scope) -> None:
        node.lineno = _line(node) or scope.line
        self.num_nodes += 1
        if self.num_nodes > subset.MAX_NODES:
            if self.num_nodes == subset.MAX_NODES + 1:
                self.forbid(node, f"the template has more than {subset.MAX_NODES} parts")
        elif scope.depth > subset.MAX_DEPTH:
            self.forbid(node, "the expression is nested too deeply", "write it in several shorter ones")
        else:
            _RULES.get(type(node), _refuse)(self, node, replace(scope, depth=scope.depth + 1, line=node.lineno))

    def children(self, node: nodes.Node, scope: _Scope) -> None:
        self.each(node.iter_child_nodes(), scope)

    def each(self, children: Iterable[nodes.Node], scope: _Scope) -> None:
        for child in children:
            self.visit(child, scope)

    def forbid(self, node: nodes.Node, message: str, hint: str | None = None) -> None:
        self.problems.append(forbidden(node.lineno, message, hint))


def _line(node: nodes.Node) -> int | None:
    """Of a node or, as Jinja2 gives some nodes none, of the first one in it."""
    line: int | None = node.lineno
    return line or next(filter(None, map(_line, node.iter_child_nodes())), None)


def _refuse(walk: _Walk, node: nodes.Node, scope: _Scope) -> None:
    if isinstance(node, nodes.Stmt):
        name = _STATEMENT_NAMES.get(type(node), type(node).__name__.lower())
        walk.forbid(node, f"`{{% {name} %}}` is not allowed", _STATEMENTS)
        return
    walk.forbid(node, f"{_EXPRESSION_NAMES.get(type(node), type(node).__name__)} is not allowed")
    walk.children(node, scope)


def _call(walk: _Walk, node: nodes.Call, scope: _Scope) -> None:
    match node.node:
        case nodes.Name(name=name):
            called = f"{name}(…)"
        case nodes.Getattr(attr=attr):
            called = f"….{attr}(…)"
        case _:
            called = "…(…)"
    walk.forbid(node, f"the call `{called}` is not allowed", f"there are only filters: {', '.join(subset.FILTERS)}")
    of = node.node.node if isinstance(node.node, nodes.Getattr) else None
    parts = [] if of is None or _is_loop(of, scope) else [of]
    walk.each([*parts, *node.args, *(keyword.value for keyword in node.kwargs)], scope)


def _for(walk: _Walk, node: nodes.For, scope: _Scope) -> None:
    targets = [name.name for name in _names(node.target)]
    for name in targets:
        _check_identifier(walk, node, name)
    if "loop" in targets:
        walk.forbid(node, "`loop` cannot be the variable of a loop")
    if node.recursive:
        walk.forbid(node, "a loop cannot be recursive")
    if scope.num_loops >= subset.MAX_LOOPS:
        walk.forbid(node, f"loops are at most {subset.MAX_LOOPS} deep")
    rows = node.iter.node if isinstance(node.iter, nodes.Filter) and node.iter.name == "flatten" else node.iter
    if rows is None or not _is_part_of_variable(rows):
        walk.forbid(node, "a loop goes over a variable or a part of one, such as `rows` or `rows[0]`")
    inner = replace(scope.with_names(targets), num_loops=scope.num_loops + 1)
    walk.each([node.iter, *node.else_], scope)
    walk.each([] if node.test is None else [node.test], replace(inner, has_loop=False))
    walk.each(node.body, replace(inner, has_loop=True))


def _names(target: nodes.Node) -> Iterator[nodes.Name]:
    return iter([target]) if isinstance(target, nodes.Name) else target.find_all(nodes.Name)


def _is_part_of_variable(node: nodes.Node) -> bool:
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        node = node.node
    return isinstance(node, nodes.Name)


def _check_identifier(walk: _Walk, node: nodes.Node, name: str) -> bool:
    if not name.isascii():
        # Python reads some other letters as ASCII ones: a full-width `class` would become `class`.
        walk.forbid(node, f"the name `{name}` has letters outside ASCII")
    elif name.startswith("_"):
        walk.forbid(node, f"the name `{name}` starts with an underscore")
    else:
        return True
    return False


def _name(walk: _Walk, node: nodes.Name, scope: _Scope) -> None:
    if not _check_identifier(walk, node, node.name):
        return
    if node.name == "loop" and scope.has_loop:
        walk.forbid(node, "`loop` is not a value", "read `loop.index`, `loop.first` or `loop.last`")
    elif scope.names is not None and node.name not in scope.names:
        message = f"unknown variable `{node.name}`"
        walk.problems.append(
            TemplateProblem(node.lineno, message, _closest(node.name, scope.names), "template-unknown-variable")
        )


def _getattr(walk: _Walk, node: nodes.Getattr, scope: _Scope) -> None:
    if not _is_loop(node.node, scope):
        _check_identifier(walk, node, node.attr)
        walk.each([node.node], scope)
    elif node.attr not in subset.LOOP_ATTRIBUTES:
        walk.forbid(node, f"`loop.{node.attr}` is not allowed", _closest(node.attr, subset.LOOP_ATTRIBUTES))


def _is_loop(node: nodes.Node, scope: _Scope) -> bool:
    return isinstance(node, nodes.Name) and node.name == "loop" and scope.has_loop


def _getitem(walk: _Walk, node: nodes.Getitem, scope: _Scope) -> None:
    bounds = [node.arg]
    if isinstance(node.arg, nodes.Slice):
        bounds = list(node.arg.iter_child_nodes(exclude=("step",)))
        if node.arg.step is not None:
            walk.forbid(node, "a slice cannot have a step")
    if not _is_part_of_variable(node):
        walk.forbid(node, "only a variable, or a part of one, has a subscript")
    if not all(isinstance(part, _SUBSCRIPT) for bound in bounds for part in (bound, *bound.find_all(nodes.Node))):
        walk.forbid(node, "a subscript is a variable, a constant or a sum of these")
    if isinstance(node.arg, nodes.Const) and str(node.arg.value).startswith("_"):
        walk.forbid(node, f"the subscript `{node.arg.value}` starts with an underscore")
    walk.each([node.node, *bounds], scope)


def _const(walk: _Walk, node: nodes.Const, _scope: _Scope) -> None:
    value: object = node.value
    if isinstance(value, str) and len(value) > subset.MAX_STRING:
        walk.forbid(node, f"a string constant of {len(value)} characters; at most {subset.MAX_STRING} are allowed")
    elif isinstance(value, (int, float)) and abs(value) > subset.MAX_NUMBER:
        walk.forbid(node, f"a number constant above {subset.MAX_NUMBER}")


def _items(walk: _Walk, node: nodes.List | nodes.Tuple, scope: _Scope) -> None:
    if len(node.items) > subset.MAX_ITEMS or not all(isinstance(item, nodes.Const) for item in node.items):
        walk.forbid(node, f"a list can hold only constants, at most {subset.MAX_ITEMS}")
    walk.children(node, scope)


def _concat(walk: _Walk, node: nodes.Concat, scope: _Scope) -> None:
    walk.num_concatenated += len(node.nodes)
    if walk.num_concatenated > subset.MAX_CONCATENATED:
        message = f"`~` joins more than {subset.MAX_CONCATENATED} texts in this template"
        walk.forbid(node, message, "write them one after the other, each in its own `{{ }}`")
    walk.children(node, scope)


def _arithmetic(walk: _Walk, node: nodes.BinExpr | nodes.UnaryExpr, scope: _Scope) -> None:
    """Of numbers only: what is plainly none would be refused at every rendering."""
    if any(_is_no_number(side) for side in node.iter_child_nodes()):
        walk.forbid(node, f"`{node.operator}` is for numbers", "join texts with `~`")
    walk.children(node, scope)


def _is_no_number(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Const):
        return not isinstance(node.value, (int, float))
    return isinstance(node, (nodes.List, nodes.Tuple, nodes.Concat)) or (
        isinstance(node, nodes.Filter) and node.name in _TEXT_FILTERS
    )


def _test(walk: _Walk, node: nodes.Test, scope: _Scope) -> None:
    if node.name not in subset.TESTS:
        walk.forbid(node, f"the test `is {node.name}` is not allowed", _closest(node.name, subset.TESTS))
    elif node.args or node.kwargs or node.dyn_args or node.dyn_kwargs:
        walk.forbid(node, f"the test `is {node.name}` takes no arguments")
    walk.each([node.node, *node.args], scope)


def _filter(walk: _Walk, node: nodes.Filter, scope: _Scope) -> None:
    if node.name not in subset.FILTERS:
        walk.forbid(node, f"the filter `{node.name}` is not allowed", _closest(node.name, subset.FILTERS))
    elif complaint := _argument_complaint(node):
        walk.forbid(node, f"the filter `{node.name}` {complaint}")
    walk.each([node.node, *node.args] if node.node is not None else node.args, scope)


def _argument_complaint(node: nodes.Filter) -> str | None:
    values = [argument.value for argument in node.args if isinstance(argument, nodes.Const)]
    if node.kwargs or node.dyn_args or node.dyn_kwargs or len(values) < len(node.args):
        return "takes only constants as arguments, without names"
    if len(values) > subset.FILTERS[node.name]:
        return f"takes at most {subset.FILTERS[node.name]} arguments, and has {len(values)}"
    wants = _ARGUMENTS.get(node.name)
    return wants[1] if wants and values and not wants[0](values[0]) else None


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= subset.MAX_SEPARATOR


def _is_number_of_digits(value: object) -> bool:
    return type(value) is int and 0 <= value <= subset.MAX_DIGITS


_ARGUMENTS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = MappingProxyType(
    {
        "join": (_is_short_text, f"takes a text of at most {subset.MAX_SEPARATOR} characters"),
        "trim": (_is_short_text, f"takes a text of at most {subset.MAX_SEPARATOR} characters"),
        "round": (_is_number_of_digits, f"takes a number of decimals from 0 to {subset.MAX_DIGITS}"),
    }
)

_RULES: Final[Mapping[type[nodes.Node], Callable[[_Walk, Any, _Scope], None]]] = MappingProxyType(
    {
        nodes.Add: _arithmetic,
        nodes.And: _Walk.children,
        nodes.Call: _call,
        nodes.Compare: _Walk.children,
        nodes.Concat: _concat,
        nodes.CondExpr: _Walk.children,
        nodes.Const: _const,
        nodes.Div: _arithmetic,
        nodes.Filter: _filter,
        nodes.FloorDiv: _arithmetic,
        nodes.For: _for,
        nodes.Getattr: _getattr,
        nodes.Getitem: _getitem,
        nodes.If: _Walk.children,
        nodes.List: _items,
        nodes.Name: _name,
        nodes.Neg: _arithmetic,
        nodes.Not: _Walk.children,
        nodes.Operand: _Walk.children,
        nodes.Or: _Walk.children,
        nodes.Output: _Walk.children,
        nodes.Pair: _Walk.children,  # of a dictionary, which is refused itself
        nodes.Pos: _arithmetic,
        nodes.Sub: _arithmetic,
        nodes.Template: _Walk.children,
        nodes.TemplateData: _Walk.children,
        nodes.Test: _test,
        nodes.Tuple: _items,
    }
)


def _closest(word: str, options: Iterable[str]) -> str | None:
    """What was probably meant, or all there is to choose from."""
    known = sorted(options)
    if matches := get_close_matches(word, known, n=3, cutoff=0.75):
        return f"did you mean {' or '.join(f'`{match}`' for match in matches)}?"
    return f"known: {', '.join(known)}" if known else None
