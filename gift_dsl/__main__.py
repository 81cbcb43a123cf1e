"""Lets `python -m gift_dsl` do what the command `gift` does."""

from __future__ import annotations

import sys

from gift_dsl.cli import main

if __name__ == "__main__":
    sys.exit(main())
