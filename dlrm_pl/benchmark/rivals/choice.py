"""Choose which rivals take part in a benchmark, and state why others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

from dlrm_pl.batch import ClickBatch
from dlrm_pl.benchmark.contenders import Contenders
from dlrm_pl.benchmark.rivals import autotuned, fbgemm, onnx_runtime, open_vino, pt2e
from dlrm_pl.benchmark.rivals.rival import Rival, missing_packages, unavailable
from dlrm_pl.errors import ConfigurationError
from dlrm_pl.extras import require_fbgemm
from dlrm_pl.model.dlrm import DLRM

RivalName = Literal["onnxruntime", "openvino", "pt2e", "fbgemm", "max_autotune"]

NAMES: tuple[RivalName, ...] = get_args(RivalName)

_BAGS = "it looks up one row per bag here, but these bags have several rows"
_POOLING = "it pools all tables in the same way, but this model sums the bags of some and averages those of others"


def with_rivals(
    floats: Contenders, model: DLRM, calibration: Iterable[ClickBatch], names: Sequence[RivalName]
) -> Contenders:
    """Add rivals to the float contenders.

    Args:
        floats: result of ``float_contenders`` for the model.
        model: float32, in evaluation mode; it is referenced.
        calibration: re-iterable batches, as for ``eager_int8``.
        names: programs whose rivals to add.
    """
    example = next(iter(calibration))
    available = list(floats.available)
    reasons = dict(floats.unavailable)
    for name in sorted(set(names), key=NAMES.index):
        found, reason = _rivals(name, floats, model, calibration, example)
        if reason:
            reasons |= unavailable(found, reason)
        else:
            available += found
    return Contenders(tuple(available), reasons)


def _rivals(
    name: RivalName, floats: Contenders, model: DLRM, calibration: Iterable[ClickBatch], example: ClickBatch
) -> tuple[tuple[Rival, ...], str]:
    """Return the rivals of one program, and the reason why none of them can take part; empty if they can."""
    bags = "" if example.offsets is None else _BAGS
    match name:
        case "onnxruntime":
            return onnx_runtime.rivals(model, calibration), missing_packages(onnx_runtime.PACKAGES) or bags
        case "openvino":
            return open_vino.rivals(model, calibration), missing_packages(open_vino.PACKAGES) or bags
        case "pt2e":
            return pt2e.rivals(model, calibration), missing_packages(pt2e.PACKAGES) or bags
        case "fbgemm":
            mixed = bool(bags) and len(set(model.architecture.is_mean)) > 1
            return fbgemm.rivals(model), _missing_fbgemm() or (_POOLING if mixed else "")
        case "max_autotune":
            return autotuned.rivals(floats.available), floats.unavailable.get("bf16 compiled", "")


def _missing_fbgemm() -> str:
    try:
        require_fbgemm()
    except ConfigurationError as error:
        return str(error)
    return ""
