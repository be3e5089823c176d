"""The only file that touches ``torch.ao.quantization``: stubs, fusion, observers, conversion, and the way out of it.

torch.ao's eager mode is deprecated and will go. What the rest of the package sees is ``nn.Sequential`` in, plain
tensors out (``read_segment``); replacing this file replaces torch.ao.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

# torch.ao has no type annotations, and gets no more: mypy cannot check the calls of this file.
# mypy: disable-error-code="no-untyped-call,attr-defined,operator,arg-type"
import torch
import torch.ao.nn.intrinsic as intrinsic
import torch.ao.nn.intrinsic.quantized as intrinsic_quantized
import torch.ao.nn.quantized as quantized
import torch.ao.quantization as ao
from torch import Tensor, nn

from dlrm_pl.errors import CalibrationError
from dlrm_pl.quantization.ptq.histogram_ranges import kl_range, percentile_range
from dlrm_pl.quantization.recipe import Observer, Recipe

# oneDNN is the fastest engine and keeps 8 bits where x86 and fbgemm reduce to 7 (measured: 3.5 to 3.7 ms against 1.4).
ENGINE = "onednn"


@dataclass(frozen=True)
class ConvertedLinear:
    """A converted int8 Linear as plain tensors.

    Attributes:
        weight: int8 ``[out, in]``.
        weight_scale: float32 ``[out]`` or ``[1]``.
        bias: float32 ``[out]``.
        output_scale: size of one step of the output.
        output_zero_point: the uint8 value that stands for 0.
        relu: fused ReLU.
    """

    weight: Tensor
    weight_scale: Tensor
    bias: Tensor
    output_scale: float
    output_zero_point: int
    relu: bool


class HistogramObserver(ao.HistogramObserver):
    """torch's, which leaves infinities out of its histogram and cannot make one of NaN."""

    def forward(self, x_orig: Tensor) -> Tensor:
        """Add what is seen.

        Raises:
            CalibrationError: it is not finite.
        """
        if not bool(torch.isfinite(x_orig).all()):
            raise CalibrationError(
                "An activation of the calibration rows is NaN or infinite, so it has no range. Look for weights and "
                "dense features that are not finite."
            )
        seen: Tensor = super().forward(x_orig)
        return seen


class PercentileObserver(HistogramObserver):
    """Leaves out the outermost values, see ``percentile_range``."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self._ends(percentile_range)

    def _ends(self, search: Callable[..., tuple[float, float]]) -> tuple[Tensor, Tensor]:
        low, high = search(self.histogram.double().numpy(), float(self.min_val), float(self.max_val))
        return self.min_val.new_tensor(low), self.max_val.new_tensor(high)


class KLObserver(PercentileObserver):
    """Searches the range of the least Kullback-Leibler divergence, see ``kl_range``."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self._ends(kl_range)


OBSERVERS: dict[Observer, type[ao.ObserverBase]] = {
    "minmax": ao.MinMaxObserver,
    "kl": KLObserver,
    "percentile": PercentileObserver,
    "histogram": HistogramObserver,
}


def segment(layers: list[nn.Module], recipe: Recipe) -> nn.Sequential:
    """QuantStub, the layers with Linear+ReLU fused, DeQuantStub, with observers attached.

    Args:
        layers: Linear and ReLU modules, alternating as in an MLP; modified in place, so hand in copies.
        recipe: observers and granularity.

    Returns:
        A module in evaluation mode, float in and out, ready for calibration.
    """
    with _deprecated_but_intended():
        # A ReLU always follows its Linear, so pairs of neighbours are all there is to fuse.
        pairs = [[str(i), str(i + 1)] for i in range(len(layers) - 1) if isinstance(layers[i + 1], nn.ReLU)]
        chain = nn.Sequential(*layers).eval()
        if pairs:
            ao.fuse_modules(chain, pairs, inplace=True)
        fused = [layer for layer in chain if not isinstance(layer, nn.Identity)]
        wrapped = nn.Sequential(ao.QuantStub(), *fused, ao.DeQuantStub()).eval()
        wrapped.qconfig = _qconfig(recipe)
        ao.prepare(wrapped, inplace=True)
    return wrapped


def num_linears(prepared: nn.Module) -> int:
    """Linears of a segment, fused or not, that is not yet converted."""
    return sum(isinstance(part, nn.Linear | intrinsic.LinearReLU) for part in prepared.children())


def read_observers(prepared: nn.Module) -> list[dict[str, Tensor]]:
    """The states of a calibrated segment's observers: of its input, then behind each of its Linears."""
    return [observer.state_dict() for observer in _observers(prepared)]


def load_observers(prepared: nn.Module, states: Sequence[dict[str, Tensor]]) -> None:
    """The inverse, for a segment that was not calibrated itself."""
    for observer, state in zip(_observers(prepared), states, strict=True):
        observer.load_state_dict(state)


def _observers(prepared: nn.Module) -> list[ao.ObserverBase]:
    """Those of activations, in order; DeQuantStub has none."""
    found = [getattr(part, "activation_post_process", None) for part in prepared.children()]
    return [observer for observer in found if isinstance(observer, ao.ObserverBase)]


def convert(prepared: nn.Module) -> nn.Module:
    """Replace calibrated segments by int8 modules, in place.

    Raises:
        CalibrationError: an observer saw no data, or a range that is not finite or wider than float32; names it.
    """
    for name, module in prepared.named_modules():
        if not isinstance(module, ao.ObserverBase) or not hasattr(module, "min_val"):
            continue
        low, high = module.min_val, module.max_val
        if low.numel() == 0 or not bool(torch.isfinite(high - low).all()):
            raise CalibrationError(
                f"The observer {name} saw no data with a finite range (it is {low.tolist()} to {high.tolist()}). "
                "Calibrate with at least one batch, and check the model for NaN and for values near the end of float32."
            )
    with _deprecated_but_intended():
        ao.convert(prepared, inplace=True)
    return prepared


def read_segment(converted: nn.Module) -> tuple[float, int, list[ConvertedLinear]]:
    """Take the numbers out of a converted segment.

    Returns:
        Scale and zero point of the input, and the Linears in order.
    """
    assert isinstance(converted, nn.Sequential)
    quantize, *linears, _ = converted
    assert isinstance(quantize, quantized.Quantize)
    result = []
    with _deprecated_but_intended():
        for layer in linears:
            assert isinstance(layer, quantized.Linear)
            weight, bias = layer._weight_bias()
            per_channel = weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric)
            scale = weight.q_per_channel_scales() if per_channel else torch.tensor([weight.q_scale()])
            result.append(
                ConvertedLinear(
                    weight=weight.int_repr(),
                    weight_scale=scale.float(),
                    bias=torch.zeros(weight.shape[0]) if bias is None else bias.detach().float(),
                    output_scale=float(layer.scale),
                    output_zero_point=int(layer.zero_point),
                    relu=isinstance(layer, intrinsic_quantized.LinearReLU),
                )
            )
    return float(quantize.scale), int(quantize.zero_point), result


def _qconfig(recipe: Recipe) -> Any:
    """Observers of a recipe; activations uint8, weights int8 symmetric."""
    affine = recipe.activation_scheme == "affine"
    activation = OBSERVERS[recipe.observer]
    weight, weight_scheme = {
        "per_channel": (ao.PerChannelMinMaxObserver, torch.per_channel_symmetric),
        "per_tensor": (ao.MinMaxObserver, torch.per_tensor_symmetric),
    }[recipe.weight_granularity]
    return ao.QConfig(
        activation=activation.with_args(
            dtype=torch.quint8,
            qscheme=torch.per_tensor_affine if affine else torch.per_tensor_symmetric,
        ),
        weight=weight.with_args(dtype=torch.qint8, qscheme=weight_scheme),
    )


@contextmanager
def _deprecated_but_intended() -> Iterator[None]:
    """Silence torch.ao's own deprecation warnings, and set the engine for the block alone."""
    previous = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*deprecated.*", category=UserWarning)
            yield
    finally:
        torch.backends.quantized.engine = previous
