"""Draws docs/img/quickstart.svg: how often the policy succeeds in each game of the quickstart, step by step.

python scripts/draw_curve.py RUN [RUN …]     run directories of the same spec, one a seed

Each faint line is one run, smoothed over a few steps; the strong line is their mean.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gift_dsl.artifacts.lines import read_lines

ROOT = Path(__file__).parent.parent
OUT = ROOT / "docs" / "img" / "quickstart.svg"
COLORS = {"arithmetic": "#d1495b", "matrix": "#2a78c2", "tictactoe": "#2e8b57", "spy": "#b8860b"}
WIDTH, HEIGHT = 820, 380
LEFT, RIGHT, TOP, BOTTOM = 58, 132, 46, 48
SMOOTH = 5
TICK = 5

Points = list[float]


def series(run: Path, game: str) -> Points:
    """Success rate in training of each step of the last stage."""
    records = list(read_lines(run / "metrics.jsonl"))
    last = max(record["stage_index"] for record in records)
    key = f"game/{game}/success"
    return [record[key] for record in records if record["stage_index"] == last and key in record]


def smoothed(values: Points) -> Points:
    """Mean of the last few steps."""
    return [sum(values[max(0, at - SMOOTH + 1) : at + 1]) / min(at + 1, SMOOTH) for at in range(len(values))]


def polyline(values: Points, color: str, width: float, opacity: float) -> str:
    """One line in the coordinates of the picture."""
    span = max(1, len(values) - 1)
    points = " ".join(f"{x_of(at / span):.1f},{y_of(value):.1f}" for at, value in enumerate(values))
    return (
        f'<polyline fill="none" stroke="{color}" stroke-width="{width}" stroke-opacity="{opacity}" '
        f'stroke-linejoin="round" points="{points}"/>'
    )


def x_of(share: float) -> float:
    """From a share of the steps."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(rate: float) -> float:
    """From a rate."""
    return HEIGHT - BOTTOM - rate * (HEIGHT - TOP - BOTTOM)


def text(x: float, y: float, words: str, more: str = "") -> str:
    """A label."""
    return f'<text x="{x:.0f}" y="{y:.0f}" {more}>{words}</text>'


def picture(runs: list[Path]) -> str:
    """The whole SVG."""
    drawn: list[str] = []
    ends: list[tuple[float, str, str]] = []
    steps = 0
    for game, color in COLORS.items():
        curves = [smoothed(series(run, game)) for run in runs]
        steps = min(len(curve) for curve in curves)
        if len(curves) > 1:
            drawn += [polyline(curve, color, 1.2, 0.35) for curve in curves]
        mean = [sum(curve[at] for curve in curves) / len(curves) for at in range(steps)]
        drawn.append(polyline(mean, color, 2.6, 1.0))
        ends.append((mean[-1], game, color))
    grid = []
    for tenth in range(0, 11, 2):
        y = y_of(tenth / 10)
        grid.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#8a8f98" stroke-opacity="0.25"/>'
        )
        grid.append(text(LEFT - 10, y + 4, f"{tenth / 10:.1f}", 'text-anchor="end"'))
    for step in (1, *range(TICK, steps + 1, TICK)):
        x = x_of((step - 1) / max(1, steps - 1))
        grid.append(text(x, HEIGHT - BOTTOM + 20, str(step), 'text-anchor="middle"'))
    labels, last = [], 2.0
    for rate, game, color in sorted(ends, reverse=True):
        last = min(rate, last - 0.06)  # labels do not cover each other
        labels.append(
            text(WIDTH - RIGHT + 10, y_of(last) + 4, f"{game} {rate:.2f}", f'fill="{color}" font-weight="600"')
        )
    seeds = f"{len(runs)} seeds, mean in bold" if len(runs) > 1 else "one seed"
    head = f"quickstart: success in training by game, nested in one trajectory ({seeds})"
    style = "text{font:13px system-ui,sans-serif}text:not([fill]){fill:#7a808a}.head{font-size:14px;font-weight:600}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{head}</title>'
        f"<style>{style}</style>"
        + text(LEFT, 24, head, 'class="head"')
        + "".join(grid)
        + "".join(drawn)
        + "".join(labels)
        + text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "step (128 trajectories each)", 'text-anchor="middle"')
        + "</svg>\n"
    )


def main() -> None:
    """Write the picture."""
    OUT.write_text(picture([Path(name) for name in sys.argv[1:]]), encoding="utf-8")
    print(f"wrote {OUT.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
