"""Every flag of upstream (facebookresearch/dlrm) and its two quantizing variants, as data.

Each flag has its type, its default, and what it is translated to.

Sources: facebookresearch/dlrm at 090956e, ``dlrm_s_pytorch.py``; Intel LPOT 1.6, the eager example's
``dlrm_s_pytorch_tune.py``; Intel Neural Compressor 2.6, the IPEX example's ``dlrm_s_pytorch.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Program = Literal["main", "tune", "ipex", "torchrec", "mlperf_v2"]
Kind = Literal["int", "float", "str", "bool", "switch", "ints", "floats", "commas"]
Fate = Literal["mapped", "refused", "no effect"]
Value = int | float | str | bool | None

MAIN, TUNE, IPEX = frozenset({"main"}), frozenset({"tune"}), frozenset({"ipex"})
BOTH = MAIN | TUNE
ALL = MAIN | TUNE | IPEX

PROGRAMS: dict[Program, str] = {
    "main": "dlrm_s_pytorch.py of facebookresearch/dlrm",
    "tune": "dlrm_s_pytorch_tune.py of Intel's LPOT",
    "ipex": "dlrm_s_pytorch.py of Intel Neural Compressor with IPEX",
    "torchrec": "dlrm_main.py of facebookresearch/dlrm",
    "mlperf_v2": "dlrm_main.py of mlcommons/training",
}


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        name: name of the flag, with its dashes.
        kind: type of its value. ``bool`` is upstream's ``type=bool``, which reads every non-empty word as True, even
            "False"; ``switch`` takes no value; ``ints`` and ``floats`` are numbers separated by dashes, kept as text;
            ``commas`` are whole numbers separated by commas.
        default: upstream's default.
        programs: programs that have the flag.
        fate: ``mapped``: translated to values or commands here (some values may still be refused); ``refused``: there
            is no equivalent here; ``no effect``: the result does not depend on it.
        text: if mapped, what the flag is translated to; if refused, why, and what to use instead; if without effect,
            why.
        short: alternative spelling.
        choices: the only values that upstream accepts.
    """

    name: str
    kind: Kind
    default: Value
    programs: frozenset[str]
    fate: Fate
    text: str
    short: str | None = None
    choices: tuple[str, ...] = ()


_NO_RANDOM = "only shapes random data, which is not used for training here"
_NO_QR = "belongs to --qr-flag, which is refused"
_NO_MD = "belongs to --md-flag, which is refused"
_PRINT_ONLY = "changes what is printed, not what is computed"
_IPEX_KERNEL = "chooses a kernel; here the fastest one that the processor supports is chosen automatically"

_MODEL = (
    Flag("--arch-sparse-feature-size", "int", 2, ALL, "mapped", "model.embedding_dim"),
    Flag(
        "--arch-embedding-size",
        "ints",
        "4-3-2",
        ALL,
        "no effect",
        "the table sizes come from the dataset, as in upstream; the flag only shapes random data",
    ),
    Flag(
        "--arch-mlp-bot",
        "ints",
        "4-3-2",
        ALL,
        "mapped",
        "model.bottom_mlp; the first width becomes 0, the number of dense columns",
    ),
    Flag("--arch-mlp-top", "ints", "4-2-1", ALL, "mapped", "model.top_mlp"),
    Flag("--arch-interaction-op", "str", "dot", BOTH, "mapped", "model.interaction", choices=("dot", "cat")),
    Flag("--arch-interaction-itself", "switch", False, BOTH, "mapped", "model.self_interaction"),
    Flag(
        "--weighted-pooling",
        "str",
        None,
        MAIN,
        "mapped",
        "model.weighted_pooling: fixed (weights that stay 1), or learned for any other word, as in upstream",
    ),
    Flag(
        "--md-flag",
        "switch",
        False,
        BOTH,
        "refused",
        "tables of mixed dimensions are not supported: every table has model.embedding_dim. For smaller tables lower "
        "--arch-sparse-feature-size or --max-ind-range, or train whole tables and `quantize` them to int8 or int4",
    ),
    Flag("--md-threshold", "int", 200, BOTH, "no effect", _NO_MD),
    Flag("--md-temperature", "float", 0.3, BOTH, "no effect", _NO_MD),
    Flag("--md-round-dims", "switch", False, BOTH, "no effect", _NO_MD),
    Flag(
        "--qr-flag",
        "switch",
        False,
        BOTH,
        "refused",
        "quotient-remainder tables are not supported. For smaller tables lower --max-ind-range, which folds the rows "
        "of large tables together, or train whole tables and `quantize` them to int8 or int4",
    ),
    Flag("--qr-threshold", "int", 200, BOTH, "no effect", _NO_QR),
    Flag("--qr-operation", "str", "mult", BOTH, "no effect", _NO_QR),
    Flag("--qr-collisions", "int", 4, BOTH, "no effect", _NO_QR),
    Flag(
        "--activation-function", "str", "relu", ALL, "no effect", "parsed by upstream but never used: it is always ReLU"
    ),
    Flag("--loss-function", "str", "mse", BOTH, "mapped", "model.loss (the IPEX variant has only bce)"),
    Flag("--loss-weights", "floats", "1.0-1.0", BOTH, "mapped", "model.loss_weights, with wbce"),
    Flag("--loss-threshold", "float", 0.0, ALL, "mapped", "model.loss_threshold"),
    Flag("--round-targets", "bool", False, ALL, "no effect", "only rounds the labels of random data"),
)
_DATA = (
    Flag("--data-size", "int", 1, BOTH, "no effect", _NO_RANDOM),
    Flag("--num-batches", "int", 0, ALL, "mapped", "trainer.limit_{train,val,test}_batches: it cuts testing as well"),
    Flag(
        "--data-generation",
        "str",
        "random",
        BOTH,
        "mapped",
        "dataset: the whole translation; random (its default) and internal are refused: `synthesize` makes clicks",
    ),
    Flag("--rand-data-dist", "str", "uniform", MAIN, "no effect", _NO_RANDOM),
    Flag("--rand-data-min", "float", 0.0, MAIN, "no effect", _NO_RANDOM),
    Flag("--rand-data-max", "float", 1.0, MAIN, "no effect", _NO_RANDOM),
    Flag("--rand-data-mu", "float", -1.0, MAIN, "no effect", _NO_RANDOM),
    Flag("--rand-data-sigma", "float", 1.0, MAIN, "no effect", _NO_RANDOM),
    Flag("--data-trace-file", "str", "./input/dist_emb_j.log", BOTH, "no effect", _NO_RANDOM),
    Flag("--data-set", "str", "kaggle", ALL, "mapped", "preprocess --layout; the name of the run"),
    Flag("--raw-data-file", "str", "", ALL, "mapped", "preprocess --raw"),
    Flag("--processed-data-file", "str", "", ALL, "mapped", "its stem: data.folder and preprocess --output"),
    Flag("--data-randomize", "str", "total", ALL, "mapped", "preprocess --randomize"),
    Flag("--data-trace-enable-padding", "bool", False, BOTH, "no effect", _NO_RANDOM),
    Flag("--max-ind-range", "int", -1, ALL, "mapped", "preprocess --max_ind_range, data.max_ind_range"),
    Flag("--data-sub-sample-rate", "float", 0.0, ALL, "mapped", "preprocess --subsample_rate"),
    Flag("--num-indices-per-lookup", "int", 10, BOTH, "no effect", _NO_RANDOM),
    Flag("--num-indices-per-lookup-fixed", "bool", False, BOTH, "no effect", _NO_RANDOM),
    Flag(
        "--num-workers",
        "int",
        0,
        BOTH,
        "mapped",
        "data.num_workers, except for the loaders for which upstream ignores it",
    ),
    Flag(
        "--memory-map", "switch", False, ALL, "mapped", "one of the conditions for --mlperf-bin-loader; always on here"
    ),
    Flag(
        "--dataset-multiprocessing",
        "switch",
        False,
        MAIN | IPEX,
        "no effect",
        "`preprocess` always uses all processors and a bounded amount of memory; see its --threads and --memory",
    ),
)
_TRAINING = (
    Flag("--mini-batch-size", "int", 1, ALL, "mapped", "data.batch_size, of each process"),
    Flag("--nepochs", "int", 1, ALL, "mapped", "trainer.max_epochs"),
    Flag("--learning-rate", "float", 0.01, ALL, "mapped", "model.learning_rate"),
    Flag("--print-precision", "int", 5, ALL, "no effect", _PRINT_ONLY),
    Flag("--numpy-rand-seed", "int", 123, ALL, "mapped", "seed_everything, data.seed, preprocess --seed"),
    Flag("--sync-dense-params", "bool", True, BOTH, "no effect", "all processes train the same MLPs here"),
    Flag("--optimizer", "str", "sgd", MAIN, "mapped", "model.optimizer: sgd, adagrad or rwsadagrad"),
    Flag("--inference-only", "switch", False, ALL, "mapped", "`test` instead of `fit`"),
    Flag("--save-onnx", "switch", False, BOTH, "refused", "leave it out; `export` writes the quantized model as ONNX"),
    Flag("--use-gpu", "switch", False, BOTH, "mapped", "trainer.accelerator"),
    Flag("--local_rank", "int", -1, MAIN, "no effect", "set by a launcher; Lightning starts its processes itself"),
    Flag("--dist-backend", "str", "", MAIN | IPEX, "mapped", "trainer.strategy, where a launcher starts processes"),
    Flag("--print-freq", "int", 1, ALL, "mapped", "trainer.log_every_n_steps"),
    Flag("--test-freq", "int", -1, ALL, "mapped", "trainer.val_check_interval; 0 or less: never test, never save"),
    Flag(
        "--test-mini-batch-size", "int", -1, ALL, "mapped", "data.eval_batch_size; below 0: same as --mini-batch-size"
    ),
    Flag(
        "--test-num-workers",
        "int",
        -1,
        BOTH,
        "no effect",
        "the loader reads a memory map, and val and test have the workers of train (data.num_workers)",
    ),
    Flag("--print-time", "switch", False, ALL, "no effect", _PRINT_ONLY),
    Flag("--print-wall-time", "switch", False, MAIN | IPEX, "no effect", _PRINT_ONLY),
    Flag("--debug-mode", "switch", False, BOTH, "no effect", _PRINT_ONLY),
    Flag("--enable-profiling", "switch", False, ALL, "mapped", "trainer.profiler: pytorch"),
    Flag("--plot-compute-graph", "switch", False, BOTH, "no effect", "plots the graph, without any effect on the run"),
    Flag("--tensor-board-filename", "str", "run_kaggle_pt", MAIN, "mapped", "name of trainer.logger (CSV files)"),
    Flag("--save-model", "str", "", ALL, "mapped", "ModelCheckpoint; in the IPEX variant also the int8 model's folder"),
    Flag("--load-model", "str", "", ALL, "mapped", "import-checkpoint --upstream, then --ckpt_path"),
    Flag("--lr-num-warmup-steps", "int", 0, MAIN | IPEX, "mapped", "model.lr_num_warmup_steps"),
    Flag("--lr-decay-start-step", "int", 0, MAIN | IPEX, "mapped", "model.lr_decay_start_step"),
    Flag("--lr-num-decay-steps", "int", 0, MAIN | IPEX, "mapped", "model.lr_num_decay_steps"),
)
_MLPERF = (
    Flag("--mlperf-logging", "switch", False, BOTH, "mapped", "callback MLPerfLogging; AUROC is always computed"),
    Flag(
        "--mlperf-acc-threshold",
        "float",
        0.0,
        BOTH,
        "mapped",
        "refused where it could stop a training: give --mlperf-auc-threshold",
    ),
    Flag("--mlperf-auc-threshold", "float", 0.0, ALL, "mapped", "callback EarlyStopping on val_auroc"),
    Flag("--mlperf-bin-loader", "switch", False, ALL, "mapped", "the format of every dataset folder"),
    Flag("--mlperf-bin-shuffle", "switch", False, ALL, "mapped", "data.shuffle: batch"),
    Flag("--mlperf-grad-accum-iter", "int", 1, MAIN, "mapped", "trainer.accumulate_grad_batches"),
)
_QUANTIZATION = (
    Flag(
        "--quantize-mlp-with-bit",
        "int",
        32,
        MAIN,
        "mapped",
        "with --inference-only: `quantize`, recipe.linears (8: int8, 16: bf16, 32: fp32)",
    ),
    Flag(
        "--quantize-emb-with-bit",
        "int",
        32,
        MAIN,
        "mapped",
        "with --inference-only: `quantize`, recipe.tables (8: int8, 4: int4, 32: fp32)",
    ),
    Flag("--tune", "switch", False, TUNE | IPEX, "mapped", "`quantize`, with the settings of the variant"),
    Flag("--benchmark", "switch", False, TUNE | IPEX, "mapped", "`benchmark`"),
    Flag("--int8", "switch", False, TUNE | IPEX, "mapped", "with --benchmark: the artifact is timed beside fp32"),
    Flag("--tuned_checkpoint", "str", "./saved_results", TUNE, "mapped", "the artifact folder"),
    Flag(
        "--do-int8-inference",
        "switch",
        False,
        TUNE,
        "mapped",
        "with --inference-only: `quantize` with one recipe; with --benchmark: the artifact is timed",
    ),
    Flag("--save-int8", "str", "", TUNE, "mapped", "with --do-int8-inference: the artifact folder"),
    Flag(
        "--per-tensor-linear",
        "switch",
        False,
        TUNE,
        "no effect",
        "weights have one scale per matrix with --do-int8-inference anyway; the narrower activations that it also "
        "uses are a workaround for the overflow of old kernels, which these kernels do not have",
    ),
    Flag("--output-model", "str", "", TUNE, "no effect", "parsed by upstream but never used"),
    Flag(
        "--iter",
        "int",
        0,
        TUNE,
        "no effect",
        "limits the rows that are scored; `quantize` reads as many as a decision needs, `benchmark` has --seconds",
        "-i",
    ),
    Flag("--warmup_iter", "int", 5, TUNE, "no effect", "`benchmark` warms up every contender", "-w"),
    Flag("--bf16", "switch", False, IPEX, "mapped", "trainer.precision: bf16-mixed"),
    Flag("--share-weight-instance", "int", 0, IPEX, "mapped", "`benchmark`, if it times inference in upstream"),
    Flag("--num-cpu-cores", "int", 0, IPEX, "mapped", "benchmark --threads"),
    Flag("--ipex-interaction", "switch", False, IPEX, "no effect", _IPEX_KERNEL),
    Flag("--ipex-merged-emb", "switch", False, IPEX, "no effect", _IPEX_KERNEL),
    Flag(
        "--num-warmup-iters", "int", 1000, IPEX, "no effect", "leaves steps out of a printed speed, not out of training"
    ),
    Flag(
        "--int8-configure",
        "str",
        "./int8_configure.json",
        IPEX,
        "no effect",
        "an artifact holds its scales itself; `quantize` makes one",
    ),
    Flag("--should-test", "switch", False, IPEX, "mapped", "whether trainer.val_check_interval is set at all"),
    Flag("--print-auc", "switch", False, IPEX, "no effect", "AUROC is always computed"),
    Flag("--accuracy_only", "switch", False, IPEX, "mapped", "`test` instead of `fit`"),
)
EVERY_FLAG = (*_MODEL, *_DATA, *_TRAINING, *_MLPERF, *_QUANTIZATION)
FLAGS: dict[str, Flag] = {flag.name: flag for flag in EVERY_FLAG}


def flags_of(program: Program) -> dict[str, Flag]:
    """Return the flags that a program knows, by name."""
    return {name: flag for name, flag in FLAGS.items() if program in flag.programs}
