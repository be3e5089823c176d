"""Explanations of the terms and numbers on a benchmark's page."""

from __future__ import annotations

CONTENDERS = {
    "fp32": "The float model in PyTorch's eager mode, as it was trained.",
    "fp32_compiled": "The float model, compiled by torch.compile for each batch size and number of threads.",
    "bf16": "The float model with weights and tables of 16 bits (bfloat16), in PyTorch's eager mode.",
    "bf16_compiled": "The model in bfloat16, compiled by torch.compile for each batch size and number of threads.",
    "eager_int8": "Int8 MLPs with PyTorch's own kernels in eager mode, and fp32 tables, as in Intel's LPOT example.",
    "int8": "The artifact, as this program serves it.",
    "onnxruntime_fp32": "The float model in ONNX Runtime, as PyTorch's exporter writes it.",
    "onnxruntime_int8_dynamic": "The float model in ONNX Runtime after its quantize_dynamic: int8 Linears whose "
    "inputs are quantized with the ranges of each batch; fp32 tables.",
    "onnxruntime_int8_static": "The float model in ONNX Runtime after its quantize_static (QDQ): Linears, interaction "
    "and tables in int8, with ranges from the calibration rows.",
    "openvino_bf16": "The float model in OpenVINO, with bf16 as inference precision.",
    "openvino_int8": "The float model in OpenVINO after NNCF's post-training quantization of all that it finds: "
    "Linears, interaction and tables.",
    "openvino_int8_linears": "The float model in OpenVINO after NNCF's post-training quantization of the Linears.",
    "pt2e_int8": "The float model after PyTorch's post-training quantization of the Linears (PT2E, torchao), compiled "
    "by torch.compile; the rest in bf16 where the processor has bf16 instructions.",
    "fbgemm_int8": "Int8 tables of FBGEMM, as TorchRec serves them; MLPs and interaction in bf16, compiled.",
    "fbgemm_int4": "Int4 tables of FBGEMM, as TorchRec serves them; MLPs and interaction in bf16, compiled.",
    "bf16_max_autotune": "The model in bfloat16, compiled by torch.compile, which first times several kernels for "
    "each Linear.",
}
"""Explanation of each contender by its name; those of exported models are generated from their format."""

EXPLANATIONS = {
    "contender": "A model that was timed; all take turns in one process, on the same batches.",
    "samples/s": "Batch size divided by the median time of a call, without loading and preparing data.",
    "median": "Time of a call in milliseconds that half of the calls do not exceed. In brackets: its 95% interval over "
    "the rounds, from order statistics, which assume no distribution.",
    "p90": "Time of a call in milliseconds that nine of ten calls do not exceed.",
    "p99": "Time of a call in milliseconds that 99 of 100 calls do not exceed; the slowest call if there are fewer "
    "than 100.",
    "speed-up": "Time of the baseline divided by that of the contender in the same round: the median over all rounds. "
    "The bars show its 95% interval.",
    "SQNR": "Signal-to-noise ratio in dB: variance of fp32's logits divided by the mean squared difference from them. "
    "20 dB more is a tenth of the difference. It shows that a contender computes the same model.",
    "fastest rival": "The fastest contender other than the artifact: the float model, or another program's version of "
    "it.",
    "artifact's speed": "How many times as fast as the fastest rival the artifact is, from the paired ratios of both "
    "to the baseline; below 1 it is slower.",
    "table rows": "Average bytes of table rows that a sample reads, computed from the shapes.",
    "weights": "All other bytes of the model, which each batch reads once.",
    "integer ops": "Integer ops of one forward pass of the artifact, counted while it ran.",
}
"""Explanation of each term by its name."""

FACTS = {
    "artifact": "folder of the int8 model",
    "rows": "what was scored",
    "int8 kernels": "instruction set of the code that computed the artifact's int8 ops",
    "processor": "processor of the machine that ran this benchmark",
    "features": "its vector instructions",
    "torch cpu capability": "instruction set of PyTorch's own kernels",
    "threads": "PyTorch's threads when the benchmark began",
    "dlrm_pl": "version of this program",
    "python": "version",
    "torch": "version",
    "numpy": "version",
}
"""Explanation of the facts of the machine, by name."""


def contender_words(name: str, label: str) -> str:
    """Return the explanation of a contender."""
    if name in CONTENDERS:
        return CONTENDERS[name]
    return f"The artifact in another format ({label}), run by the program that reads that format."
