"""Keys and passwords: found in a spec, and masked in whatever is shown of one.

A spec is committed, shared and hashed, and its errors end up in the logs of build servers: what looks like a key must
neither stand in it nor be repeated by a message about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gift_dsl.errors import Diagnostic
from gift_dsl.spec.node import Node

_BEFORE: Final = r"(?<![A-Za-z0-9])"
# The first part of a web token is bounded: a long text of its beginnings would take quadratic time.
_KEY: Final = re.compile(
    _BEFORE
    + r"(?:"
    + r"|".join(
        (
            r"sk-[A-Za-z0-9_-]{16,}",  # OpenAI, Anthropic, OpenRouter and those that follow them
            r"hf_[A-Za-z0-9]{16,}",  # Hugging Face
            r"gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}",
            r"glpat-[A-Za-z0-9_-]{16,}",
            r"(?:AKIA|ASIA)[A-Z0-9]{12,}",  # AWS
            r"AIza[A-Za-z0-9_-]{30,}",  # Google
            r"xox[a-z]-[A-Za-z0-9-]{10,}",  # Slack
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY",  # PEM
            r"nvapi-[A-Za-z0-9_-]{16,}",
            r"eyJ[A-Za-z0-9_-]{10,400}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",  # JSON web token
        )
    )
    + r")"
)
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)[^\s/:@\"']*:([^\s/@\"']+)(?=@)")
_TOKEN_IN_URL: Final = re.compile(r"(?<=://)([^\s/:@\"']+)(?=@)")
# The value of a key that is named like a secret, whatever it looks like.
_NAMED: Final = re.compile(
    r"(?i)(?:\b|_)(?:api[_-]?key|access[_-]?key|(?:access|auth|hf|api)[_-]?token|password|passwd|secret|authorization)"
    r"[\"']?\s*[:=]\s*(?:[\"']|Bearer\s+)*([^\s\"',}\]`]{4,})"
)
_PATTERNS: Final = ((_KEY, 0), (_PASSWORD_IN_URL, 1), (_TOKEN_IN_URL, 1), (_NAMED, 1))


def mask(text: str) -> str:
    """The text with every secret replaced by asterisks, as many as it has characters."""
    for pattern, group in _PATTERNS:
        text = pattern.sub(lambda match, group=group: _starred(match, group), text)
    return text


def _starred(match: re.Match[str], group: int) -> str:
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return match[0][:start] + "*" * (end - start) + match[0][end:]


def find_secrets(tree: Node) -> list[Diagnostic]:
    """`secret-in-spec` for every text in the tree that holds what looks like a key or a password."""
    # Neither pattern crosses a line end, so that one search over all texts tells whether any of them holds something.
    if not _holds_secret("\n".join(_texts(tree))):
        return []
    found: list[Diagnostic] = []
    waiting: list[tuple[Node, str]] = [(tree, "")]
    while waiting:
        node, path = waiting.pop()
        if node.text is not None and _holds_secret(node.text):
            found.append(_secret(node, path))
        waiting += [(child, f"{path}.{key}" if path else key) for key, child in node.fields.items()]
        waiting += [(child, f"{path}[{index}]") for index, child in enumerate(node.items)]
    return sorted(found, key=lambda diagnostic: diagnostic.span)


def _holds_secret(text: str) -> bool:
    return _KEY.search(text) is not None or _PASSWORD_IN_URL.search(text) is not None


def _texts(node: Node) -> Iterator[str]:
    """Every text in the tree."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if node.kind == "text":
            yield node.text or ""
        elif node.kind == "map":
            waiting += node.fields.values()
        elif node.kind == "list":
            waiting += node.items


def _secret(node: Node, path: str) -> Diagnostic:
    what = "looks like a key" if _KEY.search(node.text or "") else "holds a password"
    return Diagnostic(
        "secret-in-spec",
        f"`{path}` {what}, and a spec is shared with others",
        node.span,
        hint="revoke it if it was shared; keep it in an environment variable and name that: `api_key_env: NAME`",
        path=path,
        secret=True,
    )
