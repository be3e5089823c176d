"""Libraries that write and run ONNX. They are an extra, so they are imported only when needed."""

from __future__ import annotations

from typing import Any

from dlrm_pl.extras import missing_extra


def onnx() -> Any:
    """Return ``onnx``.

    Raises:
        ConfigurationError: it is not installed; the message says how to install it.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise missing_extra("ONNX needs onnx", "onnx", error) from None
    return onnx


def onnxruntime() -> Any:
    """Return ``onnxruntime``.

    Raises:
        ConfigurationError: it is not installed; the message says how to install it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra("ONNX needs onnxruntime", "onnx", error) from None
    return onnxruntime
