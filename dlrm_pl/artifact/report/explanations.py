"""Explanations of the terms and numbers in a report."""

from __future__ import annotations

EXPLANATIONS = {
    "AUROC": "Probability that a row with a click is scored above a row without one: 0.5 is chance, 1 is perfect.",
    "AUROC drop": "AUROC of the fp32 model minus that of the int8 model on the same rows, as a share of the fp32 "
    "model's AUROC. Below zero, the int8 model is the better one.",
    "confidence": "Share of repetitions of this measurement, each on other rows, in which the bound would hold. The "
    "bound is that of the paired difference of both models on the same rows, so it is far tighter than the error of "
    "either AUROC.",
    "tolerance": "The largest change that is accepted, from the settings. The bound of the change is compared with it, "
    "not the estimate.",
    "optimizer step": "One update of the weights, after each batch or after several accumulated batches.",
    "training loss": "Mean loss of the batches since the previous point of the curve.",
    "log loss": "Mean negative log likelihood of the labels, in nats; lower is better.",
    "normalized entropy": "Log loss divided by the log loss of predicting the click rate for every row: below 1 is "
    "better than that constant prediction.",
    "calibration ratio": "Sum of the predicted probabilities divided by the number of clicks; 1 is best.",
    "worst slice": "The value of one column whose rows lose most through quantization.",
    "model bytes": "Bytes of all weights and tables; for the int8 model, as in the artifact.",
    "samples per second": "Rows of a batch divided by the median time of a forward pass, while both models scored the "
    "certification rows in turn. The command benchmark measures more precisely.",
    "best possible AUROC": "AUROC of the true click probabilities, which are known because the data is synthetic.",
    "fp32": "The model as it was trained, with weights of 32-bit floats.",
    "int8": "The quantized model of this artifact; some of its ops and tables may have other types, see the recipe.",
    "difference": "int8 minus fp32; for bytes and speed, int8 divided by fp32.",
    "change": "From fp32 to int8, relative to fp32.",
    "standard error": "Standard deviation of the measured value over repetitions on other rows of the same kind.",
    "passed": "Whether the bound of the change is within the tolerance; undecided where there are too few rows.",
    "calibration": "Rows from which the int8 model's activation ranges were derived.",
    "tuning": "Rows on which the recipes of the search were tried.",
    "certification": "Rows that no recipe was tried on; both models scored them once, for this certificate.",
    "split": "Part of the dataset that the rows belong to.",
    "rows": "Number of rows.",
    "op": "What a recipe assigns a dtype to: each Linear, each table, and the interaction.",
    "dtype": "Number format of the op's weights.",
    "drop": "Score of fp32 minus that of the quantized model on the tuning rows; AUROC, unless another score was "
    "chosen.",
    "trial": "One recipe that was built and judged, numbered from 1.",
    "verdict": "Whether the drop is within the tolerance and the guards passed, on the tuning rows.",
    "rows read": "Rows that were scored until the verdict was certain.",
    "size": "Bytes of all weights and tables.",
    "samples/s": "Rows scored per second; the text next to the table gives the batch size and the number of threads.",
    "recipe": "A dtype for each op, and the method for finding the ranges of the activations.",
    "reason": "Why the trial was accepted or rejected, or how it failed.",
    "Pareto front": "The trials that no other trial beats in drop, size and speed at the same time.",
    "predicted": "Mean of the predicted click probabilities of a group of rows.",
    "observed": "Share of the rows of the same group that were clicked.",
    "table": "Index of the embedding table, from 0.",
    "column": "Column of the click log whose values the table embeds.",
    "rows of the table": "Number of rows of the table: one vector of weights for each category.",
    "bytes in fp32": "Bytes of the table as it was trained.",
    "bytes in the artifact": "Bytes of the table in this artifact, with the scales of its rows.",
    "share": "Bytes in the artifact divided by bytes in fp32.",
    "peak memory": "Peak memory of the process, including the pages of memory-mapped files.",
}
"""Explanation of each term by its name."""

FACTS = {
    "created": "date and time, in UTC",
    "fingerprint of the dataset": "checksum of its counts and dictionaries",
    "fingerprint of the fp32 model": "checksum of a sample of its weights",
    "calibration rows": "rows from which the activation ranges were derived",
    "batch size": "rows scored at a time",
    "integer ops of one forward pass": "counted while the model ran",
    "kernels": "instruction set of the code that ran each op",
    "processor": "processor of the machine that made the artifact",
    "features": "its vector instructions",
    "isa": "instruction set of the int8 kernels",
    "torch cpu capability": "instruction set of PyTorch's own kernels",
    "threads": "number of threads of PyTorch and of the kernels",
    "dlrm_pl": "version of this program",
    "python": "version",
    "torch": "version",
    "numpy": "version",
}
"""Explanation of the facts in the table of the provenance, by name."""
