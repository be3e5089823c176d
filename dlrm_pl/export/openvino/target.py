"""Convert the ONNX of a quantized model to OpenVINO IR, and score batches with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dlrm_pl.batch import ClickBatch
from dlrm_pl.export.feed import feed_of
from dlrm_pl.export.numbers import Numbers
from dlrm_pl.export.onnx.library import onnx
from dlrm_pl.export.onnx.model import DATA_NAME, onnx_model
from dlrm_pl.export.target import LogitsOf, TargetName, full_disk_as_such
from dlrm_pl.extras import missing_extra

FILE_NAME, BIN_NAME = "model.xml", "model.bin"
METADATA_PATH = ["dlrm_pl", "metadata"]
"""Path of the metadata in the run-time information of the model."""


class OpenVinoTarget:
    """OpenVINO IR; see ``Target``."""

    name: TargetName = "openvino"
    file_names = (FILE_NAME, BIN_NAME)
    copies = 3  # ONNX, the first IR, and the IR with metadata.
    is_read_whole = False

    def require(self) -> None:
        """Check that the libraries are installed."""
        onnx()
        openvino()

    def write(self, numbers: Numbers, folder: Path, example: ClickBatch) -> None:
        """Write the model."""
        graph = folder / "model.onnx"
        proto = onnx_model(numbers, folder, bags=example.offsets is not None, rounds_alone=True)
        graph.write_bytes(proto.SerializeToString())
        del proto
        with full_disk_as_such(folder / FILE_NAME):
            model = openvino().Core().read_model(graph)
            openvino().save_model(model, folder / FILE_NAME, compress_to_fp16=False)
        del model
        graph.unlink()
        (folder / DATA_NAME).unlink(missing_ok=True)

    def describe(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write metadata into the model."""
        described = folder / "described.xml"
        with full_disk_as_such(described):
            model = openvino().Core().read_model(folder / FILE_NAME)
            model.set_rt_info(json.dumps(metadata), METADATA_PATH)
            openvino().save_model(model, described, compress_to_fp16=False)
        del model
        described.replace(folder / FILE_NAME)
        described.with_suffix(".bin").replace(folder / BIN_NAME)

    def logits_of(self, folder: Path, threads: int) -> LogitsOf:
        """Load the model in OpenVINO, on the CPU in fp32, because OpenVINO's default there would be bf16."""
        core = openvino().Core()
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}
        compiled = core.compile_model(core.read_model(folder / FILE_NAME), "CPU", settings)

        def score(batch: ClickBatch) -> Tensor:
            return torch.from_numpy(compiled(feed_of(batch))["logit"].copy())

        return score

    def programs(self) -> str:
        """Name the program that wrote and ran the model."""
        return f"openvino {openvino().__version__}, INFERENCE_PRECISION_HINT=f32"


def openvino() -> Any:
    """Return ``openvino``.

    Raises:
        ConfigurationError: it is not installed; the message says how to install it.
    """
    try:
        import openvino
    except ImportError as error:
        raise missing_extra("OpenVINO needs openvino", "openvino", error) from None
    return openvino
