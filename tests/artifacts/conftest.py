from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="package", autouse=True)
def _no_waiting_for_disks():
    """These tests write thousands of small files; only a crash of the machine could tell the difference."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
