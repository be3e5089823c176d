"""docs/measurements/README.md names every benchmark, and its headlines match the detailed pages."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "measurements" / "README.md").read_text()
PARTS = {"scale_worker.py", "upstream_training.py"}
"""Programs that another script starts."""


def test_every_script_is_in_the_table() -> None:
    programs = {path.name for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text()}
    rows = re.findall(r"^\| (`\w+\.py`.*?) \|", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+\.py)`", " ".join(rows))) == programs - PARTS


def test_headlines_stand_on_the_pages_behind() -> None:
    performance, benchmarks, tuning = (
        (ROOT / "docs" / "measurements" / f"{name}.md").read_text() for name in ("performance", "benchmarks", "tuning")
    )
    for page, numbers in (
        (
            performance,
            ("13.7 and 15.1 times", "3.0 and 2.8 times", "4.7 and 6.1 times", "**2.55**", "11.9 (", "4.98 ", "6.36 "),
        ),
        (
            benchmarks,
            ("(5.76x)", "(1.36x)", "**3.94**", "**2.38**", "65 times as many", "297,031", "0.42 ms", "0.0216 %"),
        ),
        (tuning, ("0.88 %", "13 times as many", "4.5 %", "42 %", "13.4 %")),
    ):
        for number in numbers:
            assert number in page, number
