"""Convert NumPy arrays, tensors of any number type and frame columns to the tensors of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dlrm_pl.columns.columns import Columns
from dlrm_pl.data.formats.model_inputs import transformed
from dlrm_pl.errors import ConfigurationError, ShapeError

_IDS = (
    "integer ids, as the dataset's dictionaries number the categories. Rows with raw values, as in a log, go through "
    "`dlrm-pl predict --raw`"
)


def dense_tensor(values: Any, columns: Columns | None, take_log: bool) -> Tensor:
    """Convert dense features to the tensor that a model reads.

    Args:
        values: array or tensor of numbers, ``[B, N]``.
        columns: columns that the values belong to; their transforms are applied. A missing value (NaN) is replaced as
            in preprocessing.
        take_log: used without ``columns``: the values are raw counts from the log, so replace missing and negative
            values by 0 and take ``log(x + 1)``.

    Returns:
        float32 ``[B, N]``.

    Raises:
        ShapeError: the values are not two-dimensional, or their width is not the number of columns.
        ConfigurationError: the values are not numbers.
    """
    array = _numbers(values, "dense", "iufb", "numbers").astype(np.float32)
    if array.ndim != 2:
        raise ShapeError(f"dense has shape {list(array.shape)}, but must be [B, N]: one row per sample.")
    if columns is not None:
        return torch.from_numpy(_transformed(array, columns))
    if take_log:
        array = np.log(np.fmax(array, np.float32(0)) + np.float32(1))
    return torch.from_numpy(array)


def _transformed(array: npt.NDArray[np.float32], columns: Columns) -> npt.NDArray[np.float32]:
    """Apply the columns' transforms; a missing value counts as 0, and as the mean where values are standardized."""
    if array.shape[1] != columns.num_dense:
        raise ShapeError(f"dense has {array.shape[1]} columns, but {columns.num_dense} are needed.")
    filling = np.array([column.mean or 0 for column in columns.dense], np.float32)
    array = np.where(np.isnan(array), filling, array)
    inputs = np.empty_like(array)
    for fields in columns.dense_runs:
        run, values = columns.dense[fields], array[:, fields]
        inputs[:, fields] = transformed(np.maximum(values, 0) if run[0].transform == "log1p" else values, run)
    return inputs


def id_tensor(values: Any) -> Tensor:
    """Convert category ids to the indices of a one-hot batch.

    Args:
        values: array or tensor of any integer type, ``[B, T]``.

    Returns:
        int64 ``[T, B]``, contiguous.

    Raises:
        ShapeError: the ids are not two-dimensional.
        ConfigurationError: the ids are not integers.
    """
    array = _numbers(values, "sparse", "iu", _IDS)
    if array.ndim != 2:
        raise ShapeError(f"sparse has shape {list(array.shape)}, but must be [B, T]: one row per sample.")
    return torch.from_numpy(np.array(array.T, dtype=np.int64, order="C"))


def label_tensor(values: Any) -> Tensor:
    """Convert labels to float32 ``[B]``.

    Raises:
        ShapeError: the labels are not one-dimensional.
        ConfigurationError: a label is not 0 or 1.
    """
    array = _numbers(values, "labels", "iufb", "0 or 1").astype(np.float32)
    if array.ndim != 1:
        raise ShapeError(f"labels has shape {list(array.shape)}, but must be [B]: one label per sample.")
    if (wrong := array[(array != 0) & (array != 1)]).size:
        raise ConfigurationError(f"labels contains {wrong[0]}, but every label must be 0 or 1.")
    return torch.from_numpy(array)


def frame_column(frame: Any, name: str, *, ids: bool = False) -> npt.NDArray[Any]:
    """Read one numeric column from a frame or a mapping of names to arrays; ids as int64.

    Raises:
        ConfigurationError: there is no column of this name, or it does not hold numbers (integers, for ids).
    """
    if name not in column_names(frame):
        raise ConfigurationError(
            f"The frame has no column {name!r}. Columns are named as in the Criteo log: I1, I2, ... for dense "
            "features and C1, C2, ... for the ids of categories. For a frame with raw values, pass source, which has "
            "the vocabulary."
        )
    if ids:
        return _numbers(frame[name], f"column {name}", "iu", _IDS).astype(np.int64)
    return _numbers(frame[name], f"column {name}", "iufb", "numbers")


def column_names(frame: Any) -> list[str]:
    """Return the names of a frame's columns, or the keys of a mapping."""
    if hasattr(frame, "column_names"):  # An Arrow table, whose ``columns`` are arrays.
        return list(frame.column_names)
    return list(frame.columns if hasattr(frame, "columns") else frame)


def _numbers(values: Any, name: str, kinds: str, words: str) -> npt.NDArray[Any]:
    """Return an array whose dtype has one of these kinds, given by NumPy's letters."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        array = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    else:
        array = values.to_numpy() if hasattr(values, "to_numpy") else np.asarray(values)
    if array.dtype == object:  # pandas converts nullable integers to this; text stays text.
        array = np.asarray(array.tolist())
    if array.dtype.kind not in kinds:
        raise ConfigurationError(f"{name} has dtype {array.dtype}, but must hold {words}.")
    return array  # type: ignore[no-any-return]
