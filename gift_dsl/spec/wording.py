"""Values and annotations in words, and the repair that the notation of a wrong value suggests."""

from typing import Any, Final, Literal, get_args, get_origin

from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec
from gift_dsl.spec.models.fields import Ref, Strict
from gift_dsl.spec.node import Node
from gift_dsl.spec.walk import members, unwrap

_KIND_WORDS: Final = {
    "map": "a map",
    "list": "a list",
    "text": "the text",
    "int": "the number",
    "float": "the number",
    "bool": "the truth value",
    "null": "nothing",
}
_YAML_1_1_BOOLS: Final = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}
COMPOSITION_WORDS: Final[dict[type[Strict], str]] = {AllOfSpec: "all_of", AnyOfSpec: "any_of", InTurnSpec: "in_turn"}


def show(node: Node) -> str:
    """A value as a message shows it: the number `1.10`, a list."""
    if node.kind in ("map", "list", "null"):
        return _KIND_WORDS[node.kind]
    raw = node.raw if len(node.raw) <= 60 else node.raw[:57] + "..."
    return f"{_KIND_WORDS[node.kind]} `{raw}`"


def describe(annotation: Any) -> str:
    """What may stand somewhere, in words: one of `a`, `b`, or a whole number."""
    words: list[str] = []
    literals: list[str] = []
    outer, around = unwrap(annotation)
    for member in members(outer):
        bare, metadata = unwrap(member)
        ref = next((item for item in (*metadata, *around) if isinstance(item, Ref)), None)
        origin = get_origin(bare) or bare
        if origin is Literal:
            literals += [f"`{value}`" for value in get_args(bare)]
        elif origin is type(None):
            continue
        elif len(members(bare)) > 1:
            words.append(describe(bare))
        elif ref is not None and bare is str:
            words.append(_REF_WORDS[ref.section])
        elif bare in COMPOSITION_WORDS:
            words.append("a composition")
        else:
            words.append(_word(origin))
    if literals:
        words.insert(0, literals[0] if len(literals) == 1 else "one of " + ", ".join(literals))
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else ", ".join(unique[:-1]) + " or " + unique[-1]


_REF_WORDS: Final = {"games": "the name of a game", "opponents": "the name of an opponent"}


def _word(origin: Any) -> str:
    named = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "`true` or `false`",
        list: "a list",
        tuple: "a list",
        dict: "a map",
    }
    return named.get(origin, "a map")


def type_hint(node: Node, wanted: str) -> str | None:
    """The repair of a value of the wrong kind, from how it was written."""
    raw = node.raw
    if "`true`" in wanted and raw.lower() in _YAML_1_1_BOOLS:
        return f"YAML 1.2 reads `{raw}` as text; write `{_YAML_1_1_BOOLS[raw.lower()]}`"
    if wanted.startswith("text") and node.kind in ("int", "float", "bool"):
        return f'put it in quotes: "{raw}"'
    if "number" in wanted and node.kind == "text":
        bare = raw.strip("\"'")
        if bare != raw and _reads_as_number(bare):
            return f"remove the quotes: {bare}"
        plain = bare.replace("_", "").replace(",", "").replace(" ", "").replace("10^", "1e").replace("*1e", "e")
        return f"write {plain}" if _reads_as_number(plain) else None
    if wanted == "a whole number" and node.kind == "float" and float(node.value) == int(node.value):  # type: ignore[arg-type]  # kind is float
        return f"write {int(node.value)}"  # type: ignore[arg-type]
    return _container_hint(node, wanted)


def _container_hint(node: Node, wanted: str) -> str | None:
    if wanted.startswith("a list") and node.kind in ("text", "int", "float"):
        return f"write a list: [{node.raw}]"
    if wanted.startswith("a list") and node.kind == "map":
        return "a list of one has `- ` before its first key, or [ ] round it"
    if wanted == "a map" and node.kind == "list":
        return "write `name: value`, without `- ` or [ ]"
    return None


def _reads_as_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def length_of(node: Node) -> int:
    """Number of characters, items or entries."""
    return len(node.fields) + len(node.items) + len(node.text or "")


def unit_of(node: Node) -> str:
    """What `length_of` counts."""
    return "characters" if node.text is not None else "items"
