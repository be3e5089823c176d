"""The only file that touches ``torch.ao.quantization``: stubs, fusion, observers and conversion.

torch.ao's eager mode is deprecated and will be removed. A search only needs the observed ranges of the activations from
it; its conversion makes the model that the benchmark compares with.

This module is imported only where it is used, so that everything but quantization works with a torch without torch.ao.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# torch.ao has no type annotations and will not get any, so mypy cannot check the calls in this file.
# mypy: disable-error-code="no-untyped-call,attr-defined,operator,arg-type"
import torch
from torch import Tensor, nn

from dlrm_pl.errors import CalibrationError, ConfigurationError
from dlrm_pl.quantization.ptq.histogram_ranges import kl_range, percentile_range
from dlrm_pl.quantization.ptq.quantize_linear import Range
from dlrm_pl.quantization.recipe import Observer, Recipe

try:
    import torch.ao.quantization as ao
except ImportError as error:
    raise ConfigurationError(
        f"Quantization observes activations with torch.ao.quantization, which torch {torch.__version__} does not have. "
        'Install a version that has it: pip install "torch>=2.13,<2.15".'
    ) from error

# oneDNN is the fastest engine (1.4 ms against 3.5 to 3.7 ms, measured) and keeps 8 bits where x86 and fbgemm keep 7.
ENGINE = "onednn"


class HistogramObserver(ao.HistogramObserver):
    """torch's histogram observer, but refusing values that its histogram cannot hold: infinity and NaN."""

    def forward(self, x_orig: Tensor) -> Tensor:
        """Add values to the histogram.

        Raises:
            CalibrationError: a value is NaN or infinite.
        """
        if not bool(torch.isfinite(x_orig).all()):
            raise CalibrationError(
                "An activation on the calibration rows is NaN or infinite, so it has no range. Look for weights and "
                "dense features that are not finite."
            )
        seen: Tensor = super().forward(x_orig)
        return seen


class PercentileObserver(HistogramObserver):
    """Observer of the range without the outermost values, see ``percentile_range``."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self._ends(percentile_range)

    def _ends(self, search: Callable[..., tuple[float, float]]) -> tuple[Tensor, Tensor]:
        low, high = search(self.histogram.double().cpu().numpy(), float(self.min_val), float(self.max_val))
        return self.min_val.new_tensor(low), self.max_val.new_tensor(high)


class KLObserver(PercentileObserver):
    """Observer of the range with the smallest Kullback-Leibler divergence, see ``kl_range``."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        return self._ends(kl_range)


OBSERVERS: dict[Observer, type[ao.ObserverBase]] = {
    "minmax": ao.MinMaxObserver,
    "kl": KLObserver,
    "percentile": PercentileObserver,
    "histogram": HistogramObserver,
}


def segment(layers: list[nn.Module], recipe: Recipe) -> nn.Sequential:
    """Put layers between a QuantStub and a DeQuantStub, fuse each Linear with its ReLU, and attach observers.

    Args:
        layers: Linear and ReLU modules, alternating as in an MLP. They are modified in place, so pass copies.
        recipe: recipe with the observers and the granularity.

    Returns:
        A module in evaluation mode, float in and out, ready for calibration.
    """
    with _deprecated_but_intended():
        # A ReLU directly follows its Linear, so only neighbours are fused.
        pairs = [[str(i), str(i + 1)] for i in range(len(layers) - 1) if isinstance(layers[i + 1], nn.ReLU)]
        chain = nn.Sequential(*layers).eval()
        if pairs:
            ao.fuse_modules(chain, pairs, inplace=True)
        fused = [layer for layer in chain if not isinstance(layer, nn.Identity)]
        wrapped = nn.Sequential(ao.QuantStub(), *fused, ao.DeQuantStub()).eval()
        wrapped.qconfig = _qconfig(recipe)
        ao.prepare(wrapped, inplace=True)
    return wrapped


def observed_ranges(prepared: nn.Module) -> list[Range]:
    """Return the activation ranges of a calibrated segment: at its input, then after each of its Linears."""
    return [_range(observer) for observer in _observers(prepared)]


def _range(observer: ao.ObserverBase) -> Range:
    low, high = observer.min_val, observer.max_val
    if isinstance(observer, ao.HistogramObserver) and bool(torch.isfinite(high - low)):
        low, high = observer._non_linear_param_search()
    return Range(float(low), float(high))


def _observers(prepared: nn.Module) -> list[ao.ObserverBase]:
    """Observers of a segment's activations, in order; the DeQuantStub has none."""
    found = [getattr(part, "activation_post_process", None) for part in prepared.children()]
    return [observer for observer in found if isinstance(observer, ao.ObserverBase)]


def convert(prepared: nn.Module) -> nn.Module:
    """Replace calibrated segments by int8 modules, in place.

    Raises:
        CalibrationError: an observer saw no data, or its range is not finite or exceeds float32; the message names the
            observer.
    """
    for name, module in prepared.named_modules():
        if not isinstance(module, ao.ObserverBase) or not hasattr(module, "min_val"):
            continue
        low, high = module.min_val, module.max_val
        if low.numel() == 0 or not bool(torch.isfinite(high - low).all()):
            raise CalibrationError(
                f"The observer {name} saw no data with a finite range (it is {low.tolist()} to {high.tolist()}). "
                "Calibrate with at least one batch, and check the model for NaN and for values near the limits of "
                "float32."
            )
    with _deprecated_but_intended():
        ao.convert(prepared, inplace=True)
    return prepared


def _qconfig(recipe: Recipe) -> Any:
    """Observers of a recipe: uint8 for activations, symmetric int8 for weights."""
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
    """Silence torch.ao's deprecation warnings and set the engine, inside the block only."""
    previous = torch.backends.quantized.engine
    torch.backends.quantized.engine = ENGINE
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message=".*deprecated.*", category=UserWarning)
            yield
    finally:
        torch.backends.quantized.engine = previous
