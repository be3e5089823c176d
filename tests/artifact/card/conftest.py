"""What the card of the tiny model is written from."""

from __future__ import annotations

import pytest

from dlrm_pl.artifact.card.facts import CardFacts, read_facts
from dlrm_pl.artifact.writing.outcome import Outcome


@pytest.fixture(scope="session")
def facts(outcome: Outcome) -> CardFacts:
    return read_facts(outcome.path, "tiny")
