"""How every player here answers: the action inside the tag that the prompt asks for."""

from __future__ import annotations

import re


def tagged(tag: str, action: str) -> str:
    """An action as an answer, e.g. `<answer>3</answer>`."""
    return f"<{tag}>{action}</{tag}>"


def with_tag(tag: str, text: str) -> str:
    """A text that opens the tag somewhere as it is, any other text inside the tag."""
    return text if re.search(rf"<\s*{re.escape(tag)}\s*>", text, re.IGNORECASE) else tagged(tag, text)
