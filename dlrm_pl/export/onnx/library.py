"""The libraries that write and run ONNX. They are an extra, so they are imported when they are needed."""

from __future__ import annotations

from typing import Any

from dlrm_pl.errors import ConfigurationError


def onnx() -> Any:
    """Return ``onnx``.

    Raises:
        ConfigurationError: it is not installed; says how to install it.
    """
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise _missing("onnx", error) from None
    return onnx


def onnxruntime() -> Any:
    """Return ``onnxruntime``.

    Raises:
        ConfigurationError: it is not installed; says how to install it.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("onnxruntime", error) from None
    return onnxruntime


def _missing(name: str, error: ImportError) -> ConfigurationError:
    return ConfigurationError(f'ONNX needs {name} ({error}). Install it: pip install "dlrm-pl[onnx]".')
