"""Syntax errors in plain words: what ruamel says in terms of its grammar, said in terms of the line that is wrong.

`explain` tries the rules in order; each looks at one kind of mistake and returns a `Finding` or None.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.events import ODD_SPACES, Mark, YamlSyntaxError, split_lines

_ODD_INDENT: Final = re.compile(rf"[ \t]*([{ODD_SPACES}])|[^#\"']*:([{ODD_SPACES}])")
_GLUED: Final = re.compile(r"(\s*(?:-\s+)*[A-Za-z_][\w-]*:)(?=[^\s:/])(?![^#]*:\s)")
_KEY: Final = re.compile(r"(\s*(?:-\s+)*)([^\s:#'\"\[{][^:#]*):(?:\s+|$)")
_CHARACTER: Final = re.compile(r"found character '(.+)' that cannot")
_FOUND: Final = re.compile(r"found '?<?([^'>]+)")


@frozen
class Finding:
    """What is wrong and where; line and columns count from 0."""

    message: str
    hint: str
    line: int
    column: int
    length: int = 1
    code: str = "yaml-syntax"


@frozen
class Site:
    """The problem with the text around it."""

    found: YamlSyntaxError
    lines: list[str]
    opened: Mark | None

    @property
    def line(self) -> str:
        """The line at which the parser gave up."""
        return self.lines[self.found.mark.line]

    @property
    def rest(self) -> str:
        """That line from the column at which the parser gave up."""
        return self.line[self.found.mark.column :]

    def before(self) -> int | None:
        """Index of the nearest line above the problem that is neither blank nor a comment."""
        for index in range(self.found.mark.line - 1, -1, -1):
            if self.lines[index].strip() and not self.lines[index].lstrip().startswith("#"):
                return index
        return None

    def here(self, message: str, hint: str, length: int = 1, code: str = "yaml-syntax") -> Finding:
        """A finding where the parser gave up."""
        return Finding(message, hint, self.found.mark.line, self.found.mark.column, length, code)

    def context(self, message: str, hint: str, length: int = 1) -> Finding:
        """A finding where the thing began that the parser could not finish."""
        mark = self.found.context_mark
        return Finding(message, hint, mark.line, mark.column, length)


def explain(found: YamlSyntaxError, text: str, file: str, opened: Mark | None = None) -> Diagnostic:
    """The diagnostic for a text that is not YAML. Its place is always inside the text.

    `opened` is the place of the innermost bracket that was open when the parser gave up.
    """
    lines = split_lines(text)
    site = Site(found, lines, opened)
    finding = next((finding for rule in _RULES if (finding := rule(site))), None)
    if finding is None:
        finding = site.here(f"this is not YAML: {found.problem}", "if it is text, put it in quotes")
    return Diagnostic(finding.code, finding.message, _inside(finding, lines, file), hint=finding.hint)


def _inside(finding: Finding, lines: list[str], file: str) -> Span:
    """The finding's span, moved to the end of the last line with text if it lies beyond."""
    line, column = finding.line, finding.column
    while line and not lines[line].strip():
        line, column = line - 1, len(lines[line - 1])
    column = min(column, len(lines[line]))
    return Span(file, line + 1, column + 1, line + 1, column + finding.length + 1)


def _quoted(line: str, start: int) -> str:
    """The line with everything from `start` on (without a comment) in quotes."""
    value = re.split(r"\s#", line[start:])[0].rstrip()
    quote = "'" if '"' in value or "\\" in value else '"'
    return f"{line[:start]}{quote}{value.replace(quote, quote * 2)}{quote}".strip()


def _directive(site: Site) -> Finding | None:
    if site.found.problem != "found a directive":
        return None
    word = site.rest.split()[0]
    return site.here(
        f"`{word}` is a YAML directive, and a spec has none",
        "delete the line; specs are always YAML 1.2 (text that starts with % goes in quotes)",
        len(word),
        "yaml-directive",
    )


def _tab(site: Site) -> Finding | None:
    for index in sorted({site.found.mark.line, site.found.context_mark.line}):
        if tab := re.match(r" *\t", site.lines[index]):
            message = "a tab character is used for indentation"
            return Finding(message, "indent with spaces", index, tab.end() - 1, 1, "yaml-tab")
    if site.found.problem.startswith("found character '\\t'"):
        return site.here("a tab character stands where only spaces may", "write a space", 1, "yaml-tab")
    return None


def _odd_space(site: Site) -> Finding | None:
    for index in sorted({site.found.mark.line, site.found.context_mark.line, site.before() or 0}):
        if odd := _ODD_INDENT.match(site.lines[index]):
            column = odd.start(odd.lastindex or 0)
            name = f"U+{ord(site.lines[index][column]):04X}"
            message = f"this looks like a space but is another character ({name})"
            return Finding(message, "replace it by an ordinary space", index, column, 1, "yaml-nbsp")
    return None


def _jinja(site: Site) -> Finding | None:
    at = site.found.mark.column
    if not (site.rest.startswith("%") and site.line[:at].endswith("{")):
        return None
    hint = f"templates live inside text: put the value in quotes: {_quoted(site.line, at - 1)}"
    if not site.line[: at - 1].strip(" -"):
        hint = "a spec is no template: use `extends`, `vars` and `sweep`; templates live inside text"
    finding = site.here("`{%` is not YAML", hint, 2, "yaml-braces")
    return Finding(finding.message, hint, finding.line, at - 1, 2, "yaml-braces")


def _double_braces(site: Site) -> Finding | None:
    """`{{ ... }}` without quotes, with something in it that is not even a map."""
    at = site.opened
    if at is None or at.column == 0 or site.lines[at.line][at.column - 1 : at.column + 1] != "{{":
        return None
    hint = f"templates live inside text: put the whole value in quotes: {_quoted(site.lines[at.line], at.column - 1)}"
    return Finding("`{{` without quotes is a map in YAML", hint, at.line, at.column - 1, 2, "yaml-braces")


def _open_quote(site: Site) -> Finding | None:
    if not site.found.context.startswith("while scanning a quoted"):
        return None
    mark = site.found.context_mark
    quote = site.lines[mark.line][mark.column]
    return site.context(f"this quote is never closed: {quote}", f"close the text with {quote}")


def _escape(site: Site) -> Finding | None:
    if "escape" not in site.found.problem:
        return None
    return site.here(
        "this is not an escape that double quotes know",
        r"write two backslashes for one, or use single quotes, which have no escapes",
    )


def _first_character(site: Site) -> Finding | None:
    match = _CHARACTER.search(site.found.problem)
    if not match:
        return None
    hint = f"put it in quotes: {_quoted(site.line, site.found.mark.column)}"
    return site.here(f"a value cannot start with {match[1]}", hint)


def _anchor(site: Site) -> Finding | None:
    match = re.match(r"while scanning an (alias|anchor)", site.found.context)
    if not match:
        return None
    mark = site.found.context_mark
    line = site.lines[mark.line]
    message = f"`{line[mark.column]}` starts an {match[1]}, and a name must follow"
    return site.context(message, f"if it is text, put it in quotes: {_quoted(line, mark.column)}")


def _tag(site: Site) -> Finding | None:
    if "tag" not in site.found.context and "tag" not in site.found.problem:
        return None
    finding = site.context("a spec has no YAML tags (`!name`)", "if it is text, put it in quotes")
    return Finding(finding.message, finding.hint, finding.line, finding.column, 1, "yaml-tag")


def _padded_block(site: Site) -> Finding | None:
    """Ruamel refuses a text block whose first line is blank but for spaces."""
    if not site.found.problem.startswith("more indented follow up line"):
        return None
    line = site.before() or 0
    message = "the text below starts with a blank line that holds spaces"
    return Finding(message, "delete these spaces", line, len(site.lines[line].rstrip()) - 1)


def _block_header(site: Site) -> Finding | None:
    if not site.found.context.startswith("while scanning a block scalar"):
        return None
    mark = site.found.context_mark
    sign = site.lines[mark.line][mark.column]
    return site.context(
        f"after `{sign}` the text starts on the next line", f"if `{sign}` is part of the text, put it in quotes"
    )


def _glued_colon(site: Site) -> Finding | None:
    """`a:1` beside other keys."""
    if not _expects_key(site):
        return None
    for index in (site.found.context_mark.line, site.before(), site.found.mark.line):
        if index is not None and (match := _GLUED.match(site.lines[index])):
            line = site.lines[index]
            hint = f"write: {(line[: match.end()] + ' ' + line[match.end() :]).strip()}"
            return Finding("a space must follow the colon", hint, index, match.end() - 1)
    return None


def _expects_key(site: Site) -> bool:
    return site.found.problem in ("mapping values are not allowed here", "could not find expected ':'")


def _second_colon(site: Site) -> Finding | None:
    """`a: b: c`."""
    if site.found.problem != "mapping values are not allowed here":
        return None
    match = _KEY.match(site.line)
    if not match or match.end() > site.found.mark.column:
        return None
    hint = f"put the value in quotes: {_quoted(site.line, match.end())}"
    return site.here("a second colon on this line: a value that holds `: ` needs quotes", hint)


def _no_colon(site: Site) -> Finding | None:
    """A line between keys that is only text, or that continues the value above."""
    if not _expects_key(site):
        return None
    if site.found.problem.startswith("could"):
        mark = site.found.context_mark
        word = site.lines[mark.line][mark.column :].rstrip()
        return site.context("this line has no `key: value`", "a colon and a space must follow the key", len(word))
    index = site.before()
    if index is not None and ":" not in site.lines[index]:
        line = site.lines[index]
        start = len(line) - len(line.lstrip())
        message = "this line has no `key: value`"
        return Finding(message, "a colon and a space must follow the key", index, start, len(line.strip()))
    start = len(site.line) - len(site.line.lstrip())
    message = "this line is indented more than the keys above, but the line above already has a value"
    return Finding(message, "align it with its neighbours", site.found.mark.line, start)


def _bare_reference(site: Site) -> Finding | None:
    """`[${vars.x}]`: inside brackets a brace ends a plain text."""
    at = site.found.mark.column
    if site.opened is None or not (site.line[:at].endswith("$") and site.rest.startswith("{")):
        return None
    reference = "$" + site.rest.partition("}")[0] + "}"
    hint = f'write "{reference}"'
    return Finding("inside brackets a reference needs quotes", hint, site.found.mark.line, at - 1, len(reference))


def _open_bracket(site: Site) -> Finding | None:
    mark = site.opened
    if mark is None or not site.found.context.startswith("while parsing a"):
        return None
    bracket = site.lines[mark.line][mark.column]
    closing = {"[": "]", "{": "}"}[bracket]
    if site.found.mark.line != mark.line or "stream end" in site.found.problem:
        return Finding(f"`{bracket}` is never closed", f"close it with `{closing}`", mark.line, mark.column)
    return site.here(
        f"expected `,` or `{closing}` here", "separate the items by commas; text with any of []{}, needs quotes"
    )


def _bad_value(site: Site) -> Finding | None:
    if not site.found.problem.startswith("expected the node content"):
        return None
    sign = site.rest[:1]
    hint = f"put it in quotes: {_quoted(site.line, site.found.mark.column)}"
    return site.here(f"a value cannot start with {sign}", hint)


def _mixed_block(site: Site) -> Finding | None:
    """The end of a block was expected: what stands there instead tells the mistake."""
    if not site.found.problem.startswith("expected <block end>"):
        return None
    match = _FOUND.search(site.found.problem.partition("but ")[2])
    return site.here(*_AFTER_BLOCK.get(match[1] if match else "", _NO_MATCH))


_INDENT: Final = (
    "the indentation of this line matches no line above",
    "align it with the keys it belongs to",
)
_NO_MATCH: Final = ("this does not fit the lines above", "check quotes, brackets and indentation")
_MORE_TEXT: Final = (
    "text after the end of a value",
    "put the whole value in one pair of quotes; a single quote inside single quotes is written twice",
)
_AFTER_BLOCK: Final[dict[str, tuple[str, str]]] = {
    "block mapping start": _INDENT,
    "block sequence start": _INDENT,
    "scalar": _MORE_TEXT,
    "alias": _MORE_TEXT,
    "-": ("a list item among keys", "indent the list under its key"),
    "?": ("a key among list items", "indent the key under its item, or end the list"),
    "]": ("`]` closes nothing", "delete it, or put the value in quotes"),
    "}": ("`}` closes nothing", "delete it, or put the value in quotes"),
    ",": ("a comma outside brackets", "put the value in quotes"),
}


def _not_here(site: Site) -> Finding | None:
    match site.found.problem:
        case "sequence entries are not allowed here":
            return site.here("a list cannot start on the line of its key", "put each `- item` on its own line below")
        case "mapping keys are not allowed here":
            return site.here("`? ` starts a key", "if it is text, put it in quotes")
        case _:
            return None


def _after_document(site: Site) -> Finding | None:
    if "document" not in site.found.problem:
        return None
    return site.here("text after the end of the document", _MORE_TEXT[1])


_RULES: Final[tuple[Callable[[Site], Finding | None], ...]] = (
    _directive,
    _tab,
    _odd_space,
    _jinja,
    _double_braces,
    _open_quote,
    _escape,
    _first_character,
    _anchor,
    _tag,
    _padded_block,
    _block_header,
    _glued_colon,
    _second_colon,
    _no_colon,
    _bare_reference,
    _open_bracket,
    _bad_value,
    _mixed_block,
    _not_here,
    _after_document,
)
