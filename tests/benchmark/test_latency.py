"""The tuner's timer: which models it times, and what is built only once."""

from __future__ import annotations

import pytest
import torch

from dlrm_pl.benchmark import latency as module
from dlrm_pl.benchmark.compilation import CompilationError
from dlrm_pl.benchmark.contenders import BASELINE
from dlrm_pl.benchmark.latency import InterleavedTimer
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny


def int8() -> Int8DLRM:
    model = tiny.model()
    recipe = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    return quantize(model, recipe, tiny.batches(1, 64), table_packer(model))


def test_trial_is_timed_in_turn_with_both_float_models(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[int] = []

    def compile_for(model: object, batch: object) -> object:
        compiled.append(batch.num_samples)  # type: ignore[attr-defined]
        return model

    monkeypatch.setattr("dlrm_pl.benchmark.contenders.compile_for", compile_for)
    names: list[list[str]] = []
    original = module.time_in_turn

    def time_in_turn(contenders, batches, **options):  # type: ignore[no-untyped-def]
        names.append(list(contenders))
        return original(contenders, batches, **options)

    monkeypatch.setattr(module, "time_in_turn", time_in_turn)
    timer = InterleavedTimer(tiny.model(), tiny.batches(2, 300), batch_size=128, seconds=0.01)
    for _ in range(2):
        found = timer(int8())
        assert min(found.samples_per_s, found.fp32_samples_per_s, found.bf16_samples_per_s or 0) > 0
        assert (found.batch_size, found.threads) == (128, torch.get_num_threads())
    assert compiled == [128]
    assert names == [[BASELINE, "bf16_compiled", "trial"]] * 2


def test_without_a_compiler_the_log_says_that_only_fp32_is_compared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def compile_for(model: object, batch: object) -> object:
        raise CompilationError("no compiler")

    monkeypatch.setattr("dlrm_pl.benchmark.contenders.compile_for", compile_for)
    found = InterleavedTimer(tiny.model(), tiny.batches(1, 64), seconds=0.01)(int8())
    assert found.bf16_samples_per_s is None
    assert "latency is not compared with bf16 compiled: no compiler" in caplog.text
