"""Progress without a terminal: lines some seconds apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dlrm_pl.cli.commands import progress
from dlrm_pl.cli.commands.progress import bytes_bar, rows_bar, stages_bar, status


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass."""
    now = 100.0

    def pass_by(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    return pass_by


def test_long_commands_print_a_line_now_and_then(
    wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    with rows_bar("verify", 5_000) as advance:
        for _ in range(5):
            wait(6)
            advance(1_000)
    assert capsys.readouterr().err.splitlines() == ["verify: 2,000 of 5,000 rows", "verify: 4,000 of 5,000 rows"]
    with bytes_bar("export-tables") as advance:
        wait(11)
        advance(3_000_000)
    with stages_bar() as stage:
        wait(11)
        stage("read day_0", 0.25, 1000)
    with status("load") as update:
        update("batch 1: time 6 contenders")
        wait(11)
        update("batch 32: time 6 contenders")
    expected = ["export-tables: 3,000,000 bytes", "read day_0: 25%", "batch 32: time 6 contenders"]
    assert capsys.readouterr().err.splitlines() == expected


def test_short_commands_print_nothing(wait: Callable[[float], None], capsys: pytest.CaptureFixture[str]) -> None:
    for bar in (rows_bar("verify", 10), bytes_bar("import")):
        with bar as advance:
            wait(9)
            advance(10)
    assert capsys.readouterr().err == ""
