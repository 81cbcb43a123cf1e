from __future__ import annotations

import pytest

from tests.run.small import here


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run that came to its end, to be read only."""
    outcome = here(tmp_path_factory.mktemp("finished"))
    assert outcome.exit_code == 0
    return outcome
