"""The tiny model's artifact and certificate, from which its card is written."""

from __future__ import annotations

import pytest

from dlrm_pl.artifact.card.facts import CardFacts, read_facts
from dlrm_pl.artifact.writing.outcome import Outcome


@pytest.fixture(scope="session")
def facts(outcome: Outcome) -> CardFacts:
    return read_facts(outcome.path, "tiny")
