"""List the options of the commands with a Trainer, without running LightningCLI."""

from __future__ import annotations

from argparse import Action

from jsonargparse import ArgumentParser


def options_of(command: str) -> list[Action]:
    """Return the options that the parser of a command reads: those of trainer, model and data, and its own."""
    from dlrm_pl.data.loading.datamodule import DLRMDataModule
    from dlrm_pl.model.training.lightning_module import DLRMModule
    from dlrm_pl.trainer import DLRMTrainer

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_argument("--seed_everything", type=int)
    parser.add_class_arguments(DLRMTrainer, "trainer", fail_untyped=False)
    parser.add_class_arguments(
        DLRMModule, "model", skip={"table_sizes", "dataset_fingerprint", "columns"}, fail_untyped=False
    )
    parser.add_class_arguments(DLRMDataModule, "data", fail_untyped=False)
    if command == "sweep":
        from dlrm_pl.cli.arguments.sweep_options import SweepOptions

        parser.add_class_arguments(SweepOptions, as_group=False)
        return list(parser._actions)
    taken = {"model", "datamodule", "dataloaders", "train_dataloaders", "val_dataloaders"}
    parser.add_method_arguments(DLRMTrainer, command, skip=taken, fail_untyped=False)
    return list(parser._actions)
