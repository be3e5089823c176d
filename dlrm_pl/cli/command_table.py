"""List the commands: a description, an example, and the function of those that need no Trainer."""

from __future__ import annotations

from collections.abc import Callable

from dlrm_pl.cli.commands.benchmark import benchmark
from dlrm_pl.cli.commands.card import card
from dlrm_pl.cli.commands.configs import configs
from dlrm_pl.cli.commands.export import export
from dlrm_pl.cli.commands.export_tables import export_tables
from dlrm_pl.cli.commands.from_dlrm_flags import from_dlrm_flags
from dlrm_pl.cli.commands.import_checkpoint import import_checkpoint
from dlrm_pl.cli.commands.inspect import inspect
from dlrm_pl.cli.commands.merge_checkpoint import merge_checkpoint
from dlrm_pl.cli.commands.predict import predict_with_artifact
from dlrm_pl.cli.commands.preprocess import preprocess
from dlrm_pl.cli.commands.push import push
from dlrm_pl.cli.commands.serve import serve
from dlrm_pl.cli.commands.synthesize import synthesize
from dlrm_pl.cli.commands.verify import verify
from dlrm_pl.cli.output import Report

LIGHT: dict[str, Callable[..., Report | None]] = {
    "synthesize": synthesize,
    "preprocess": preprocess,
    "verify": verify,
    "benchmark": benchmark,
    "serve": serve,
    "inspect": inspect,
    "card": card,
    "push": push,
    "merge-checkpoint": merge_checkpoint,
    "export": export,
    "export-tables": export_tables,
    "import-checkpoint": import_checkpoint,
    "from-dlrm-flags": from_dlrm_flags,
    "configs": configs,
}
"""Commands that need no Trainer; `predict --artifact` needs none either."""

PREDICT_WITH_ARTIFACT = predict_with_artifact

POSITIONAL = ("inspect", "card", "push", "merge-checkpoint", "configs", "completion")
"""Commands whose required options are given without a name: `inspect PATH`."""

TRAINER = {
    "fit": "Train a model on a dataset folder.",
    "validate": "Score a checkpoint on the val split.",
    "test": "Score a checkpoint on the test split.",
    "predict": "Score rows with a checkpoint, or with an int8 artifact (`predict --artifact`).",
    "quantize": "Turn a trained model into a certified int8 artifact.",
    "sweep": "Search for better training settings: many short training runs, compared by their AUROC on val.",
}
"""Commands with a Trainer, and the first lines of their docstrings: importing those for the help would take seconds."""

ORDER = (
    "synthesize",
    "preprocess",
    "fit",
    "sweep",
    "validate",
    "test",
    "predict",
    "quantize",
    "verify",
    "benchmark",
    "serve",
    "inspect",
    "card",
    "push",
    "merge-checkpoint",
    "import-checkpoint",
    "export",
    "export-tables",
    "from-dlrm-flags",
    "configs",
    "completion",
)

EXAMPLES = {
    "synthesize": "--output clicks --rows 200000 --days 4",
    "preprocess": "--raw criteo/day --output terabyte --max_ind_range 40000000",
    "fit": "-c quickstart --data.folder clicks --trainer.max_epochs 2",
    "sweep": "-c quickstart --data.folder clicks --output sweeps/mine --max_trials 10",
    "validate": "-c quickstart --data.folder clicks --ckpt_path model.ckpt",
    "test": "-c quickstart --data.folder clicks --ckpt_path model.ckpt",
    "predict": "-c quickstart --data.folder clicks --ckpt_path model.ckpt --output clicks.csv",
    "predict --artifact": "--artifact artifacts/int8 --data clicks --output clicks.csv",
    "quantize": "-c quickstart -c int8 --data.folder clicks --ckpt_path model.ckpt --output int8",
    "verify": "--artifact artifacts/int8 --data clicks --ckpt_path model.ckpt",
    "benchmark": "--artifact artifacts/int8 --ckpt_path model.ckpt --output benchmark",
    "serve": "--artifact artifacts/int8 --port 8000",
    "inspect": "artifacts/int8",
    "card": "artifacts/int8 --license apache-2.0 --output artifacts/int8/README.md",
    "push": "artifacts/int8 me/clicks --private",
    "merge-checkpoint": "step=1000.ckpt --output model.ckpt",
    "export": "--artifact artifacts/int8 --to onnx --output exported --data clicks",
    "export-tables": "--ckpt_path model.ckpt --output tables --bits 4",
    "import-checkpoint": "--upstream dlrm.pt --output model.ckpt --data terabyte",
    "from-dlrm-flags": "--output run.yaml -- python dlrm_s_pytorch.py --arch-sparse-feature-size=16",
    "configs": "copy --output configs",
    "completion": "bash > ~/.local/share/bash-completion/completions/dlrm-pl",
}
"""Options of a typical run of each command."""
