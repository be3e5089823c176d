"""Memory of batches is reused once nothing refers to it, and never before."""

from __future__ import annotations

import gc
import io

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dlrm_pl.data.decoding.buffers import Buffers
from tests.support.examples import examples


def test_memory_is_used_again_once_a_tensor_is_gone() -> None:
    buffers = Buffers()
    tensor = buffers.empty("x", 1000, np.float32)
    assert (tensor.dtype, tensor.shape) == (torch.float32, (1000,))
    place = tensor.data_ptr()
    del tensor
    assert buffers.empty("x", 700, np.float32).data_ptr() == place
    assert buffers.empty("y", 700, np.float32).data_ptr() != place


def test_views_of_any_kind_keep_the_memory() -> None:
    buffers = Buffers()
    for view in (
        lambda tensor: tensor.split([400, 600])[1],
        lambda tensor: tensor.view(10, 100)[3],
        lambda tensor: tensor.numpy(),
        lambda tensor: tensor.untyped_storage(),
        lambda tensor: torch.from_dlpack(tensor),
    ):
        kept = view(buffers.empty("x", 1000, np.float32))
        gc.collect(1)  # A view is young; searching all objects would take most of a second.
        place = kept.data_ptr() if hasattr(kept, "data_ptr") else kept.ctypes.data
        start = buffers.empty("x", 1000, np.float32).data_ptr()
        assert not start <= place < start + 4000
        del kept


@settings(deadline=None, max_examples=examples(50))
@given(actions=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 300)), max_size=40))
def test_living_tensors_never_share_memory(actions: list[tuple[int, int]]) -> None:
    buffers, living = Buffers(), {}
    for slot, count in actions:
        living.pop(slot, None)
        living[slot] = buffers.empty("x", count, np.int64).fill_(slot)
    for slot, tensor in living.items():
        assert (tensor == slot).all()


def test_only_a_few_are_kept() -> None:
    buffers = Buffers()
    several = [buffers.empty("x", 10, np.float32) for _ in range(9)]
    del several
    assert len(buffers._free["x"]) == 4


def test_batches_can_be_saved() -> None:
    tensor = Buffers().empty("x", 10, np.float32).zero_()
    file = io.BytesIO()
    torch.save(tensor.split(5), file)
    file.seek(0)
    assert torch.load(file)[1].tolist() == [0] * 5
