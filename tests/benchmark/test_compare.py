"""Contenders compute the model; one that differs is refused, and one that cannot run is named with its reason."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import nn

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark import contenders, unavailable
from dlrm_pl.benchmark.agreement import check_agreement, sqnr_db
from dlrm_pl.benchmark.compare import compare, thread_counts
from dlrm_pl.benchmark.comparison import Comparison
from dlrm_pl.benchmark.compilation import CompilationError, Float, FloatForCompiler, compile_for
from dlrm_pl.benchmark.contenders import (
    BF16_ROUNDING,
    Contender,
    Contenders,
    as_bfloat16,
    eager_int8,
    float_contenders,
    int8_contender,
)
from dlrm_pl.benchmark.rows import random_rows
from dlrm_pl.benchmark.unavailable import missing_bytes
from dlrm_pl.errors import ConfigurationError, VerificationError
from dlrm_pl.kernels.int8.selection import available
from dlrm_pl.model.architecture import Architecture
from dlrm_pl.quantization.ptq.quantize import quantize, table_packer
from dlrm_pl.quantization.recipe import Recipe, RecipeStart
from dlrm_pl.runtime.direct import DirectModel
from dlrm_pl.runtime.int8_dlrm import Int8DLRM
from tests.support import tiny

pytestmark = pytest.mark.long

CALIBRATION = tiny.batches(2, 64)


def int8_model() -> Int8DLRM:
    recipe = Recipe.starting_from(RecipeStart(), tiny.ARCHITECTURE)
    return quantize(tiny.model(), recipe, CALIBRATION, table_packer(tiny.model()))


def run(contenders: Contenders, **changes: object) -> Comparison:
    options = {"batch_sizes": (1, 64), "threads": (1,), "seconds": 0.01} | changes
    return compare(contenders, random_rows(tiny.ARCHITECTURE), **options)  # type: ignore[arg-type]


def eager_contenders() -> Contenders:
    floats = float_contenders(tiny.model(), CALIBRATION)
    eager = tuple(contender for contender in floats.available if not contender.compiled)
    return Contenders((*eager, int8_contender(int8_model())), {})


def test_every_contender_is_timed_in_every_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    set_to: list[int] = []
    # On a busy machine, real threads would wait for each other for minutes on small tensors.
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    comparison = run(eager_contenders(), progress=said.append, threads=(2, 1))
    assert [(cell.threads, cell.batch_size) for cell in comparison.cells] == [(1, 1), (1, 64), (2, 1), (2, 64)]
    for cell in comparison.cells:
        assert list(cell.timings) == ["fp32", "bf16", "eager_int8", "int8"]
    assert comparison.sqnr_db.keys() == {"bf16", "eager_int8", "int8"}
    assert min(comparison.sqnr_db.values()) > 10
    assert "batch 64, threads 1: timing 4 contenders" in said
    assert set_to == [2, 1, 1, 1] * 2  # The thread count is changed, and restored to the tests' single thread.
    json.dumps(comparison.to_dict(), allow_nan=False)


def test_without_a_float_model_the_int8_one_is_its_own_baseline() -> None:
    comparison = run(Contenders((int8_contender(int8_model()),), {}))
    assert comparison.baseline == "int8"
    assert comparison.sqnr_db == {}
    assert comparison.cells[0].timings["int8"].ratio == 1


def test_int8_is_called_as_a_predictor_calls_it() -> None:
    model, batch = int8_model(), tiny.batches(1, 16)[0]
    score = int8_contender(model).prepare(batch)
    assert getattr(score, "__func__", None) is DirectModel.logits or len(available()) < 2
    assert torch.equal(score(batch), model(batch))


@pytest.mark.slow
def test_compiled_models_read_weights_that_were_packed_when_they_were_compiled() -> None:
    """Frozen weights are constants that are copied when they are packed, so later writes have no effect."""
    model, batch = FloatForCompiler(as_bfloat16(tiny.model(3))), tiny.batches(1, 16)[0]
    with torch.inference_mode():
        compiled = compile_for(model, batch)
        before = compiled(batch).clone()
        # Compiling another model of the class must not make the first one recompile without freezing.
        compile_for(FloatForCompiler(as_bfloat16(tiny.model(4))), batch)
        for weight in model.model.top_mlp.parameters():
            if weight.dim() == 2:
                weight.zero_()
        assert float(model(batch).std()) == 0
        torch.testing.assert_close(compiled(batch), before)


@pytest.mark.slow
def test_compiled_contenders_give_the_eager_logits() -> None:
    from torch._inductor import config

    floats = float_contenders(tiny.model(), CALIBRATION)
    # Inductor would compile a program for each vector instruction set, and import torch to load it.
    with config.patch({"cpp.vec_isa_ok": True}):  # type: ignore[no-untyped-call]
        comparison = run(floats, batch_sizes=(64,))
    assert comparison.unavailable == {}
    assert list(comparison.cells[0].timings) == ["fp32", "fp32_compiled", "bf16", "bf16_compiled", "eager_int8"]
    assert comparison.sqnr_db["fp32_compiled"] > 80
    assert comparison.sqnr_db["bf16_compiled"] > 25


@pytest.mark.parametrize(
    "changes",
    [{}, {"self_interaction": True}, {"interaction": "cat"}, {"loss_threshold": 0.3}, {"pooling": ("mean",) * 3}],
    ids=str,
)
def test_the_compilers_form_is_the_same_model(changes: dict[str, object]) -> None:
    architecture = dataclasses.replace(tiny.ARCHITECTURE, **changes)  # type: ignore[arg-type]
    model = tiny.model(0, architecture)
    one_hot = tiny.batches(1, 32)[0]
    for batch in (one_hot, tiny.as_multi_hot(one_hot), tiny.bags(1, 32)[0]):
        torch.testing.assert_close(FloatForCompiler(model)(batch), model(batch))


def test_bfloat16_copy_averages_as_the_model_does() -> None:
    model = tiny.model(0, dataclasses.replace(tiny.ARCHITECTURE, pooling=("mean", "sum", "mean")))
    batch = tiny.bags(1, 50)[0]
    torch.testing.assert_close(Float(as_bfloat16(model))(batch), model(batch), atol=0.05, rtol=0.05)


def test_bfloat16_copy_leaves_the_float_model_alone() -> None:
    model = tiny.model()
    half = as_bfloat16(model)
    assert {parameter.dtype for parameter in half.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert Float(half)(CALIBRATION[0]).dtype == torch.float32


def test_eager_int8_quantizes_linears_and_shares_the_fp32_tables() -> None:
    model = tiny.model()
    recipe = eager_int8(model, CALIBRATION)
    assert recipe.embedding_bags is model.embedding_bags
    kinds = [type(layer).__module__ for part in (recipe.bottom_mlp, recipe.top_mlp) for layer in part.modules()]
    linears = len(tiny.ARCHITECTURE.bottom_mlp) - 1 + len(tiny.ARCHITECTURE.top_mlp)
    assert sum("nn.quantized" in kind or "nn.intrinsic.quantized" in kind for kind in kinds) >= linears


def test_another_model_is_refused() -> None:
    architecture: Architecture = tiny.ARCHITECTURE
    wrong = Contender("int8", "int8", tiny.model(5, architecture))
    contenders = Contenders((Contender("fp32", "fp32 eager", tiny.model()), wrong), {})
    with pytest.raises(VerificationError, match=r"int8: its logits differ .* It is not the same model"):
        run(contenders)


@pytest.mark.parametrize("logits", [torch.full((64,), math.nan), torch.zeros(3)], ids=["nan", "shape"])
def test_logits_that_cannot_be_compared_are_refused(logits: torch.Tensor) -> None:
    contender = Contender("x", "some model", nn.Identity())
    with pytest.raises(VerificationError, match=r"some model: gave .* not the same model"):
        check_agreement(contender, torch.arange(64.0), logits)


def test_rounding_of_logits_far_from_zero_is_allowed_for_their_dtype_alone() -> None:
    expected = 100 + torch.linspace(0, 0.1, 64)
    rounded = expected.bfloat16().float()
    model = nn.Identity()
    check_agreement(Contender("a", "a", model, rounding=BF16_ROUNDING), expected, rounded)
    with pytest.raises(VerificationError):
        check_agreement(Contender("a", "a", model), expected, rounded)


def test_rounding_of_logits_does_not_explain_a_larger_difference() -> None:
    """Rounding logits around 28 to bfloat16 changes them by less than 0.1; these differ by 0.55 (root mean square)."""
    generator = torch.Generator().manual_seed(1)
    expected = 28 + torch.randn(4096, generator=generator)
    found = expected + 0.55 * torch.randn(4096, generator=generator)
    with pytest.raises(VerificationError, match=r"0\.55.*0\.4\d+ is what its dtypes explain"):
        check_agreement(Contender("a", "a", nn.Identity(), rounding=BF16_ROUNDING), expected, found)


def test_sqnr_of_equal_logits_is_infinite_and_of_a_tenth_20_db() -> None:
    x = torch.tensor([1.0, -1.0, 1.0, -1.0])
    assert sqnr_db(x, x) == math.inf
    assert sqnr_db(x, 1.1 * x) == pytest.approx(20, abs=1e-5)


def test_missing_compiler_is_reported_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: nn.Module, batch: ClickBatch) -> None:
        raise CompilationError("torch.compile needs a working C++ compiler (none found)")

    monkeypatch.setattr(contenders, "compile_for", fail)
    comparison = run(float_contenders(tiny.model(), CALIBRATION))
    assert comparison.unavailable.keys() == {"fp32 compiled", "bf16 compiled"}
    assert "needs a working C++ compiler" in comparison.unavailable["bf16 compiled"]
    assert list(comparison.cells[0].timings) == ["fp32", "bf16", "eager_int8"]


@pytest.mark.slow
def test_compiler_that_is_not_there_is_a_compilation_error() -> None:
    from torch._inductor import config

    # Uses the config's own `patch`: monkeypatch would delete these settings and break every later compilation.
    absent = config.patch({"cpp.cxx": (None, "no-such-compiler"), "force_disable_caches": True})  # type: ignore[no-untyped-call]
    with absent, torch.inference_mode(), pytest.raises(CompilationError, match=r"C\+\+ compiler.*no-such-compiler"):
        compile_for(FloatForCompiler(tiny.model(3)), tiny.batches(1, 5)[0])


def test_no_memory_for_a_bfloat16_copy_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unavailable, "missing_bytes", lambda needed: 3 * 2**30)
    found = float_contenders(tiny.model(), CALIBRATION)
    assert [contender.name for contender in found.available] == ["fp32", "fp32_compiled", "eager_int8"]
    assert "3 GiB more memory" in found.unavailable["bf16 compiled"]


def test_missing_memory_is_what_the_system_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unavailable, "available_bytes", lambda: 4000)
    assert [missing_bytes(5000), missing_bytes(10)] == [1000, 0]

    def unknown() -> int:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(unavailable, "available_bytes", unknown)
    assert missing_bytes(5000) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sizes": (0,)}, r"batch_sizes=\[0\]"),
        ({"batch_sizes": ()}, r"batch_sizes=\[\]"),
        ({"threads": (-1,)}, r"threads=\[-1\]"),
        ({"seconds": 0}, "seconds=0"),
    ],
)
def test_numbers_that_measure_nothing_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(Contenders((int8_contender(int8_model()),), {}), **changes)


def test_thread_counts_double_up_to_all() -> None:
    assert [thread_counts(most) for most in (1, 2, 6, 8)] == [(1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8)]
