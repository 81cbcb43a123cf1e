"""Draws docs/img/terminal.svg from what the commands really print.

python scripts/make_pictures.py
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).parent.parent
WIDTH = 112
SPEC = """\
gift: 1
name: nested
model: {source: Qwen/Qwen2.5-1.5B-Instruct}
opponents:
  qwen: {type: openai, base_url: http://localhost:8000/v1, model: Qwen/Qwen3-14B}
games:
  matrix:    {type: matrix_games}
  tictactoe: {type: tictactoe, opponents: qwen14b}
  spy:       {type: whos_the_spy, opponents: qwen, palyers: 5}
stages:
  - {name: nested, type: grpo, play: {all_of: [matrix, tictactoe, spy]}, until: {step: 250}}
"""
REPAIRED = SPEC.replace("qwen14b", "qwen").replace("palyers", "players").replace("step:", "steps:")
# The page's own fonts: a picture must not fetch anything.
FORMAT = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" role="img">
<title>gift validate and gift plan in a terminal</title>
<style>.{unique_id}-matrix {{font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width;}}
{styles}</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>{lines}</defs>
<rect fill="#16181d" width="{width}" height="{height}" rx="10"/>
<g transform="translate(14, 10)" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g></svg>
"""


def output(folder: Path, *arguments: str) -> str:
    """What a command prints, in colour."""
    env = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    env.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-m", "gift_dsl", *arguments], cwd=folder, capture_output=True, text=True, env=env, check=False
    )
    return done.stderr + done.stdout


def main() -> None:
    """Write the picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for text, arguments in ((SPEC, ("validate", "nested.yaml")), (REPAIRED, ("plan", "nested.yaml"))):
            (folder / "nested.yaml").write_text(text, encoding="utf-8")
            console.print(Text(f"$ gift {' '.join(arguments)}", style="bold #8be9a8"))
            console.print(Text.from_ansi(output(folder, *arguments).rstrip()), soft_wrap=False)
            console.print()
    target = ROOT / "docs" / "img" / "terminal.svg"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(console.export_svg(title="gift", code_format=FORMAT, unique_id="gift"), encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
