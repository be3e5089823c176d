"""docs/glossary.md is in alphabetical order, and explains the terms that the program prints."""

from __future__ import annotations

import re
from typing import get_args

from dlrm_pl.artifact.certificate.certificate import Outcome
from dlrm_pl.columns.column import Ids, Transform
from dlrm_pl.quantization.recipe import ActivationScheme, Observer, WeightGranularity
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "glossary.md").read_text()
TERMS = re.findall(r"^\| (?!term )([^|]+) \|", PAGE, re.MULTILINE)


def test_terms_are_in_order_and_once() -> None:
    keys = [term.lower() for term in TERMS]
    assert keys == sorted(set(keys))


def test_values_that_a_user_sets_or_reads_are_explained() -> None:
    for kind in (Outcome, Ids, Transform, ActivationScheme, Observer, WeightGranularity):
        for value in get_args(kind):
            assert re.search(rf"\b{value}\b", PAGE), value
