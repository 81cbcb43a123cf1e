"""The specs that travel with the package. What somebody's `gift run` left beside them is none."""

from __future__ import annotations

from gift_dsl.settings import shipped


def shipped_specs(*, games=False):
    """Paths of every shipped spec, in order; `games`: with the game files among the examples."""
    root = shipped("specs")
    found = sorted(path for path in root.rglob("*.yaml") if "runs" not in path.relative_to(root).parts)
    return found if games else [path for path in found if path.parent.name != "games"]
