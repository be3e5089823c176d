"""A rival that fails, differs or lacks memory is named with the reason, and the others are timed."""

from __future__ import annotations

import json
import logging
import math
import sys
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark import unavailable
from dlrm_pl.benchmark.compare import compare
from dlrm_pl.benchmark.comparison import BestRival, Comparison
from dlrm_pl.benchmark.contenders import BASELINE, Contender, Contenders, int8_contender
from dlrm_pl.benchmark.rivals.rival import Load, Rival, missing_packages, quiet
from dlrm_pl.benchmark.rows import random_rows
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from tests.support import benchmarks, tiny

MODEL = tiny.model()


def rival(name: str, build: Callable[[], Load], **changes: object) -> Rival:
    return Rival(name, f"rival {name}", nn.Identity(), build=build, **changes)  # type: ignore[arg-type]


def honest() -> Rival:
    return rival("honest", lambda: lambda example: MODEL)


def run(*rivals: Rival, batch_sizes: tuple[int, ...] = (8, 64)) -> Comparison:
    recipe = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    int8 = quantize(MODEL, recipe, tiny.batches(2, 64), table_packer(MODEL))
    contenders = Contenders((Contender(BASELINE, "fp32 eager", MODEL), *rivals, int8_contender(int8)), {})
    rows = random_rows(tiny.ARCHITECTURE)
    return compare(contenders, rows, batch_sizes=batch_sizes, threads=(1,), seconds=0.001)


def fails_in_build() -> Load:
    raise RuntimeError("\n  no such op: Frobnicate\nand a page of the compiler\n" + "x" * 1000)


def fails_in_load() -> Load:
    def load(example: ClickBatch) -> Callable[[ClickBatch], Tensor]:
        raise ValueError

    return load


def fails_when_it_is_called() -> Load:
    def score(batch: ClickBatch) -> Tensor:
        raise MemoryError("no room")

    return lambda example: score


def fails_later() -> Load:
    """Return a rival that passes the comparison of logits and fails while it is timed."""
    calls = 0

    def score(batch: ClickBatch) -> Tensor:
        nonlocal calls
        calls += 1
        if calls > 300:
            raise OSError("the licence server has gone")
        return MODEL(batch)  # type: ignore[no-any-return]

    return lambda example: score


def fails_with_batches_of_64() -> Load:
    def load(example: ClickBatch) -> Callable[[ClickBatch], Tensor]:
        if example.num_samples == 64:
            raise RuntimeError("64 is too many")
        return MODEL

    return load


def another_model() -> Load:
    return lambda example: tiny.model(5)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (fails_in_build, "batch 8, threads 1: RuntimeError: no such op: Frobnicate"),
        (fails_in_load, "batch 8, threads 1: ValueError: with no message"),
        (fails_when_it_is_called, "batch 8, threads 1: MemoryError: no room"),
        (fails_later, "threads 1: OSError: the licence server has gone"),
        (another_model, "It is not the same model, so it is not timed."),
    ],
)
def test_failure_is_a_reason_and_the_others_are_timed(
    build: Callable[[], Load], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    comparison = run(rival("bad", build), honest())
    assert comparison.unavailable.keys() == {"rival bad"}
    assert reason in comparison.unavailable["rival bad"]
    assert comparison.unavailable["rival bad"].count("rival bad") == 0
    for cell in comparison.cells:
        assert {"fp32", "honest", "int8"} <= cell.timings.keys()
    assert "bad" not in comparison.cells[-1].timings
    assert "rival bad is left out" in caplog.text
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_one_that_fails_at_one_batch_size_keeps_its_times_at_others() -> None:
    comparison = run(rival("bad", fails_with_batches_of_64))
    assert ["bad" in cell.timings for cell in comparison.cells] == [True, False]
    assert comparison.unavailable == {"rival bad": "batch 64, threads 1: RuntimeError: 64 is too many"}


def test_without_memory_it_is_not_even_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unavailable, "missing_bytes", lambda needed: max(0, needed - 2**30))
    comparison = run(rival("large", fails_in_build, memory=3 * 2**30), honest())
    (reason,) = comparison.unavailable.values()
    assert reason == "batch 8, threads 1: its copy of the model needs 2 GiB more memory than is available"


def test_a_model_is_built_once_and_loaded_for_each_batch_size() -> None:
    done: list[object] = []

    def build() -> Load:
        done.append("built")

        def load(example: ClickBatch) -> Callable[[ClickBatch], Tensor]:
            done.append(example.num_samples)
            return MODEL

        return load

    run(rival("honest", build))
    assert done == ["built", 8, 64]


def test_our_own_contenders_may_not_differ() -> None:
    from dlrm_pl.errors import VerificationError

    wrong = Contender("bf16", "bf16", tiny.model(5))
    with pytest.raises(VerificationError, match="bf16: its logits differ"):
        run(wrong)  # type: ignore[arg-type]


def test_fastest_rival_is_named_in_every_cell() -> None:
    labels = benchmarks.LABELS | {"exported_onnx": "exported, onnx"}
    comparison = benchmarks.comparison(labels, (1, 32), (1, 2))
    for cell in comparison.cells:
        # The exported model is faster, 6 times the baseline's speed, but it serves the artifact itself.
        assert comparison.best_rival(cell) == BestRival("bf16_compiled", "bf16 compiled", pytest.approx(13.5 / 4.5))
    stored = comparison.to_dict()["cells"][0]["best_rival"]
    assert stored == {"name": "bf16_compiled", "label": "bf16 compiled", "times": pytest.approx(3.0)}
    alone = benchmarks.comparison({"int8": "int8"}, (32,), (1,))
    assert alone.best_rival(alone.cells[0]) is None


def test_a_rival_that_is_faster_than_the_artifact_is_named_as_well() -> None:
    comparison = benchmarks.comparison(benchmarks.LABELS, (1,), (1,))
    (cell,) = comparison.cells
    fast = benchmarks.timing(1, 1e6, 27.0)
    cell.timings["eager_int8"] = fast
    best = comparison.best_rival(cell)
    assert best is not None
    assert (best.name, best.times) == ("eager_int8", pytest.approx(0.5))


def test_missing_packages_name_the_extra() -> None:
    assert missing_packages({"torch": "torch", "json": "json"}) == ""
    reason = missing_packages({"torch": "torch", "no_such_module": "no-such", "nor_this": "nor-this"})
    assert reason == 'no-such and nor-this are not installed. Install the extra: pip install "dlrm-pl[rivals]"'


def test_other_programs_are_kept_quiet(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        print("progress")
        print("noise", file=sys.stderr)
        logging.getLogger("other").warning("remark")
        warnings.warn("deprecated", FutureWarning, stacklevel=1)
    logging.getLogger("other").warning("heard again")
    assert capfd.readouterr() == ("", "")
    assert [record.message for record in caplog.records] == ["heard again"]


def test_interruption_is_no_failure_of_a_rival() -> None:
    def interrupted() -> Load:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(rival("slow", interrupted))


def test_errors_of_ours_are_reasons_without_their_class() -> None:
    def build() -> Load:
        raise ConfigurationError("FBGEMM is not installed. Run this.")

    comparison = run(rival("bad", build))
    assert comparison.unavailable == {"rival bad": "batch 8, threads 1: FBGEMM is not installed. Run this."}


def test_logits_that_are_not_finite_are_no_result() -> None:
    comparison = run(rival("nan", lambda: lambda example: lambda batch: torch.full((batch.num_samples,), math.nan)))
    assert "finite: False" in comparison.unavailable["rival nan"]
