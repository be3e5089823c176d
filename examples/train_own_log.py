"""Turn your own raw log into a certified int8 model, in Python.

    dlrm-pl synthesize --format raw --output logs --days 3 --rows 30000    # or a log of your own
    python examples/train_own_log.py --raw logs/day --output runs/own
    python examples/train_own_log.py --raw clicks --columns shop.yaml --output runs/own    # or Parquet, Arrow, CSV

Without ``--columns`` the log is raw text with Criteo's columns (docs/tutorial.md); a YAML file states any others
(docs/columns.md). The commands ``preprocess``, ``fit -c small_log`` and ``quantize`` do the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pytorch_lightning import seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint

import dlrm_pl


def main() -> None:
    parser = argparse.ArgumentParser(description="Preprocess a log, train on it, quantize and certify the model.")
    parser.add_argument("--raw", type=Path, required=True, help="prefix of day files (logs/day), or a file or folder")
    parser.add_argument("--columns", default="criteo", help="YAML file that states the columns")
    parser.add_argument("--output", type=Path, required=True, help="folder for the dataset, checkpoint and artifact")
    parser.add_argument("--relative", type=float, default=0.005, help="tolerated relative drop of AUROC")
    options = parser.parse_args()
    seed_everything(2024, verbose=False)

    columns = dlrm_pl.Columns.read(options.columns)
    dlrm_pl.preprocess(options.raw, options.output / "dataset", dlrm_pl.PreprocessOptions(columns=columns))
    data = dlrm_pl.DLRMDataModule(options.output / "dataset", batch_size=128, shuffle="none")

    # Small logs need Adagrad, whose steps suit rare categories, and one epoch: click models overfit in the second one.
    module = dlrm_pl.DLRMModule(
        data.table_sizes,
        columns=data.columns.statement(),
        embedding_dim=16,
        bottom_mlp=[0, 64, 16],  # 0: the number of dense columns
        top_mlp=[64, 1],
        optimizer="adagrad",
        learning_rate=0.01,
        dataset_fingerprint=data.dataset_fingerprint,
    )
    trainer = dlrm_pl.DLRMTrainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[ModelCheckpoint(options.output, filename="model", enable_version_counter=False)],
    )
    trainer.fit(module, datamodule=data, overwrite=True)
    trainer.test(module, datamodule=data)

    settings = dlrm_pl.TuningSettings(criterion=dlrm_pl.Criterion(relative=options.relative))
    outcome = dlrm_pl.quantize(module, data, options.output / "artifact", settings=settings, overwrite=True)
    print(f"{outcome.certificate.outcome}: {outcome.certificate.reason}")


if __name__ == "__main__":
    main()
