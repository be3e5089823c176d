"""Fixtures for the tests of all formats."""

from __future__ import annotations

import pytest

from tests.support.quantization.exported import CASES, Case, make_case


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    """A model and a batch that fits it."""
    return make_case(request.param)
