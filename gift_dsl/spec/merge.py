"""JSON Merge Patch (RFC 7396) on nodes, with one addition for compositions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gift_dsl.spec.node import Node, mapping, sequence

Merge = Callable[[Node | None, Node], Node | None]

COMPOSITION_KEYS: Final = frozenset({"all_of", "any_of", "in_turn"})
PART_KEYS: Final = frozenset({"play", "weight", "max_turns", "max_tokens_per_turn"})
"""Of a part with options. A stage has `play` too, and other keys beside it."""


def merge_patch(target: Node | None, patch: Node) -> Node | None:
    """The target with the patch applied: maps merge key by key, all else is replaced, null removes.

    One addition to the RFC: where the target is a composition (a map that holds `all_of`, `any_of` or `in_turn`) and
    the patch holds one of these keys too, the patch replaces it whole; a patch that holds only options merges. So does
    a part with options (`{play: ..., max_turns: ...}`) replace a composition, and a composition such a part.

    Every value keeps the place where it was written. A map that both sides write has the place of the patch, as the
    later word.

    Returns:
        None where the patch is null, which means absent.
    """
    if patch.kind == "null":
        return None
    if patch.kind != "map":
        return patch
    return _merge_maps(None if target is not None and _replaces(patch, target) else target, patch, merge_patch)


def _replaces(patch: Node, target: Node) -> bool:
    """Whether a patch takes the place of a composition, or of a part, instead of changing it."""
    given = {key for key, value in patch.fields.items() if value.kind != "null"}
    was_composition = not COMPOSITION_KEYS.isdisjoint(target.fields)
    was_part = "play" in target.fields and target.fields.keys() <= PART_KEYS
    if not COMPOSITION_KEYS.isdisjoint(given):
        return was_composition or was_part
    return was_composition and "play" in given and patch.fields.keys() <= PART_KEYS


def replace_whole(_: Node | None, patch: Node) -> Node | None:
    """The patch as it is, with its nulls; None if it is null itself."""
    return None if patch.kind == "null" else patch


def _merge_maps(target: Node | None, patch: Node, merge: Merge) -> Node:
    """The entries of the patch merged one by one into those of the target, if that is a map."""
    fields = dict(target.fields) if target else {}
    key_spans = dict(target.key_spans) if target else {}
    for key, value in patch.fields.items():
        merged = merge(fields.get(key), value)
        if merged is None:
            fields.pop(key, None)
            key_spans.pop(key, None)
        else:
            fields[key] = merged
            key_spans[key] = patch.key_spans[key]
    return mapping(fields, patch.span, key_spans, patch.style, patch.origin)


def merge_files(target: Node | None, patch: Node) -> Node:
    """A file's top-level map folded into that of the files it extends: `merge_patch`, but for `sweep`.

    The values of a sweep's axes are merge patches themselves, in which a null has its own meaning. So an axis is
    replaced whole, as a list is, and its values are left as they were written; a null in place of an axis removes it.
    """
    return _merge_maps(target, patch, merge_patch) if "sweep" not in patch.fields else _merge_with_sweep(target, patch)


def _merge_with_sweep(target: Node | None, patch: Node) -> Node:
    merged = _merge_maps(target, without(patch, "sweep"), merge_patch)
    sweep = _merge_sweep(merged.fields.get("sweep"), patch.fields["sweep"])
    if sweep is None:
        return without(merged, "sweep")
    key_spans = {**merged.key_spans, "sweep": patch.key_spans["sweep"]}
    return mapping({**merged.fields, "sweep": sweep}, merged.span, key_spans, merged.style)


def _merge_sweep(target: Node | None, patch: Node) -> Node | None:
    return _merge_maps(target, patch, _merge_axes) if patch.kind == "map" else replace_whole(target, patch)


def _merge_axes(target: Node | None, patch: Node) -> Node | None:
    return _merge_maps(target, patch, replace_whole) if patch.kind == "map" else replace_whole(target, patch)


def drop_nulls(node: Node) -> Node:
    """The tree without the entries whose value is null: in a finished spec null and absent are the same.

    A null in a list is kept, for it has a position.
    """
    if node.kind == "map":
        return _drop_from_map(node)
    items = tuple(drop_nulls(item) for item in node.items)
    if all(new is old for new, old in zip(items, node.items, strict=True)):
        return node
    return sequence(items, node.span, node.style, node.origin)


def _drop_from_map(node: Node) -> Node:
    fields = {key: drop_nulls(child) for key, child in node.fields.items() if child.kind != "null"}
    if len(fields) == len(node.fields) and all(fields[key] is node.fields[key] for key in fields):
        return node
    key_spans = {key: node.key_spans[key] for key in fields}
    return mapping(fields, node.span, key_spans, node.style, node.origin)


def without(node: Node, *keys: str) -> Node:
    """The map without these keys."""
    fields = {key: child for key, child in node.fields.items() if key not in keys}
    return mapping(fields, node.span, {key: node.key_spans[key] for key in fields}, node.style, node.origin)
