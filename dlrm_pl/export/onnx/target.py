"""Write a quantized model as ONNX, and score batches with it in ONNX Runtime."""

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
from dlrm_pl.export.onnx.graph import OPSET
from dlrm_pl.export.onnx.library import onnx, onnxruntime
from dlrm_pl.export.onnx.model import DATA_NAME, onnx_model
from dlrm_pl.export.target import LogitsOf, TargetName

FILE_NAME = "model.onnx"
METADATA_KEY = "dlrm_pl"


class OnnxTarget:
    """ONNX with opset 21; see ``Target``."""

    name: TargetName = "onnx"
    file_names = (FILE_NAME, DATA_NAME)
    copies = 1
    is_read_whole = False

    def require(self) -> None:
        """Check that the libraries are installed."""
        onnx()
        onnxruntime()

    def write(self, numbers: Numbers, folder: Path, example: ClickBatch) -> None:
        """Write the model."""
        model = onnx_model(numbers, folder, bags=example.offsets is not None)
        (folder / FILE_NAME).write_bytes(model.SerializeToString())

    def describe(self, folder: Path, metadata: Mapping[str, Any]) -> None:
        """Write metadata into the file."""
        model = onnx().load(folder / FILE_NAME, load_external_data=False)
        onnx().helper.set_model_props(model, {METADATA_KEY: json.dumps(metadata)})
        (folder / FILE_NAME).write_bytes(model.SerializeToString())

    def logits_of(self, folder: Path, threads: int) -> LogitsOf:
        """Load the model in ONNX Runtime."""
        runtime = onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        session = runtime.InferenceSession(folder / FILE_NAME, options, providers=["CPUExecutionProvider"])

        def score(batch: ClickBatch) -> Tensor:
            (logits,) = session.run(["logit"], feed_of(batch))
            return torch.from_numpy(logits)

        return score

    def programs(self) -> str:
        """Name the programs that wrote and ran the file."""
        return f"opset {OPSET}, onnx {onnx().__version__}, onnxruntime {onnxruntime().__version__}"
