"""State of training in a checkpoint: whether two are of the same moment, and which tensors are weights."""

from __future__ import annotations

import pickle
from typing import Any

from torch import Tensor

from dlrm_pl.model.checkpoints.contract import KEY
from dlrm_pl.model.training.resuming.run_record import RunRecord
from dlrm_pl.torch_file.plain import replace_leaves

_OF_OTHERS = ("callbacks",)  # Has ModelCheckpoint's last file, so it differs at the same moment.


def same_state(checkpoint: dict[str, Any]) -> bytes | None:
    """Return a value that is equal for two checkpoints of the same moment in training, and differs for others.

    Tensors are compared by their memory addresses. During training, weights change only together with the progress of
    the loops, or through torch functions, which count the changes to a tensor.

    Returns:
        None if the checkpoint holds something that cannot be compared.
    """
    contents = {name: value for name, value in checkpoint.items() if name not in _OF_OTHERS}
    try:
        return pickle.dumps(replace_leaves(contents, Tensor, _place))
    except (pickle.PicklingError, TypeError, AttributeError):
        return None


def _place(tensor: Tensor) -> Any:
    if tensor.dim() == 0:
        return tensor.item()  # Counters of an optimizer.
    return str(tensor.dtype), tuple(tensor.shape), tensor.data_ptr(), tensor._version


def names_of_weights(checkpoint: dict[str, Any]) -> dict[int, str]:
    """Return the tensors of one of our checkpoints whose values must be finite: id -> name for an error.

    These are the weights and the optimizer's state, except for tables that already had non-finite values when imported.
    """
    if not isinstance(checkpoint.get(KEY), dict):
        return {}
    exempt = RunRecord.read(checkpoint).nonfinite_tables
    names = {id(tensor): name for name, tensor in checkpoint["state_dict"].items() if name not in exempt}
    for optimizer in checkpoint.get("optimizer_states", ()):
        for number, state in optimizer.get("state", {}).items():
            for name, tensor in state.items() if isinstance(state, dict) else ():
                if isinstance(tensor, Tensor):
                    names[id(tensor)] = f"the optimizer's {name} of parameter {number}"
    return names
