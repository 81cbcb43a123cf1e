"""An evaluation inside a run leaves no trace in it: global generators go on where they were.

Everything of ours draws from named streams. Libraries that an evaluation calls (lm-eval, TextArena) draw from the
global generators, or seed them, and training draws its dropout from them.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def kept_generators() -> Generator[None]:
    """Put the generators of Python, numpy and torch (its GPUs included) back as they were; imports neither library."""
    python = random.getstate()  # noqa: TID251 - nothing is drawn: the state is put back
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    numpy_state = numpy.random.get_state() if numpy is not None else None
    torch_state = torch.get_rng_state() if torch is not None else None
    gpus = torch.cuda.get_rng_state_all() if torch is not None and torch.cuda.is_initialized() else None
    try:
        yield
    finally:
        random.setstate(python)  # noqa: TID251
        if numpy is not None:
            numpy.random.set_state(numpy_state)
        if torch is not None:
            torch.set_rng_state(torch_state)
        if torch is not None and gpus is not None:
            torch.cuda.set_rng_state_all(gpus)
