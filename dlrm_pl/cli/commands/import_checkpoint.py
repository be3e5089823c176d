"""Convert checkpoints of upstream (facebookresearch/dlrm) and TorchRec, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dlrm_pl.cli.commands.progress import bytes_bar
from dlrm_pl.cli.output import Report
from dlrm_pl.errors import ConfigurationError, OutputError
from dlrm_pl.files.destinations import check_file

if TYPE_CHECKING:
    from dlrm_pl.data.formats.torchrec.stated import StatedTables


def import_checkpoint(
    upstream: str | None = None,
    output: str | None = None,
    data: str | None = None,
    counts: str | None = None,
    multi_hot_sizes: list[int] | None = None,
    multi_hot_distribution: Literal["uniform", "pareto"] | None = None,
    interaction: Literal["dot", "cat"] | None = None,
    self_interaction: bool | None = None,
    loss_threshold: float = 0.0,
    ckpt_path: str | None = None,
    to_upstream: str | None = None,
    to_torchrec: str | None = None,
    overwrite: bool = False,
) -> Report:
    """Convert a checkpoint of upstream DLRM (facebookresearch/dlrm) or TorchRec to one of this program, or back.

    ``--upstream PATH --output FILE.ckpt`` imports a checkpoint that dlrm_s_pytorch.py saved, or one of TorchRec's DLRM
    or DLRM_DCN: a state_dict in a file, or a folder written by torch.distributed.checkpoint or torchsnapshot, sharded
    or not. ``--ckpt_path FILE.ckpt --to_upstream FILE.pt`` exports for dlrm_s_pytorch.py, ``--to_torchrec FILE.pt`` for
    TorchRec. Tables are copied block by block, so a file may be larger than memory. Only tensors and plain values are
    unpickled.

    Args:
        upstream: file that ``torch.save`` of any version wrote, or the folder; it determines the layers and table
            sizes.
        output: the checkpoint to write.
        data: dataset folder that the model was trained on, to compare table sizes and record its fingerprint.
        counts: upstream's day_fea_count.npz, to compare table sizes if there is no dataset folder.
        multi_hot_sizes: ids in a bag of each table, if the days in ``data`` have single ids from which the bags are
            drawn; the same as data.multi_hot_sizes of later commands.
        multi_hot_distribution: how these bags are drawn; the same as data.multi_hot_distribution of later commands.
        interaction: how features interact; needed only if the width of the top MLP fits both choices.
        self_interaction: upstream's --arch-interaction-itself; needed only if the width of the top MLP fits both
            choices.
        loss_threshold: upstream's --loss-threshold, which its checkpoints do not contain.
        ckpt_path: checkpoint of ``fit`` or of an import, to export.
        to_upstream: the file to write for upstream's --load-model.
        to_torchrec: the file to write, a state_dict for TorchRec's DLRM or DLRM_DCN with tables t_cat_0, t_cat_1
            and so on.
        overwrite: replace an existing file of that name.
    """
    exports = [path for path in (to_upstream, to_torchrec) if path is not None]
    if upstream is not None and output is not None and ckpt_path is None and not exports:
        _check(Path(upstream), Path(output), overwrite)
        bags = _stated_bags(multi_hot_sizes, multi_hot_distribution, data)
        return _import(Path(upstream), Path(output), data, counts, bags, interaction, self_interaction, loss_threshold)
    if ckpt_path is not None and len(exports) == 1 and upstream is None and output is None:
        option = "--to_torchrec" if to_upstream is None else "--to_upstream"
        others = (data, counts, multi_hot_sizes, multi_hot_distribution, interaction, self_interaction)
        if loss_threshold or any(option is not None for option in others):
            raise ConfigurationError(f"{option} is given with --ckpt_path only; the checkpoint states everything else.")
        _check(Path(ckpt_path), Path(exports[0]), overwrite)
        return _export(Path(ckpt_path), Path(exports[0]), torchrec=to_upstream is None)
    raise ConfigurationError(
        "import-checkpoint needs --upstream PATH and --output FILE.ckpt; or, to convert back, --ckpt_path FILE.ckpt "
        "and either --to_upstream FILE.pt or --to_torchrec FILE.pt."
    )


def _import(
    upstream: Path,
    output: Path,
    data: str | None,
    counts: str | None,
    bags: StatedTables | None,
    interaction: Literal["dot", "cat"] | None,
    self_interaction: bool | None,
    loss_threshold: float,
) -> Report:
    from dlrm_pl.inspection import inspect_path
    from dlrm_pl.model.upstream.opening import open_foreign

    opened = open_foreign(
        upstream, interaction=interaction, self_interaction=self_interaction, loss_threshold=loss_threshold
    )
    dataset = _known_dataset(data, counts, opened.architecture.table_sizes, bags)
    with bytes_bar("import", opened.nbytes) as advance:
        opened.write(output, dataset, progress=advance)
    description = inspect_path(output)
    return Report(description.to_dict(), str(description))


def _export(source: Path, target: Path, *, torchrec: bool) -> Report:
    from dlrm_pl.model.upstream.exporting import export_upstream
    from dlrm_pl.model.upstream.torchrec.exporting import export_torchrec

    export = export_torchrec if torchrec else export_upstream
    with bytes_bar("export", source.stat().st_size if source.is_file() else None) as advance:
        export(source, target, progress=advance)
    purpose = "a state_dict of TorchRec's DLRM" if torchrec else "for upstream's --load-model"
    return Report({"output": target}, f"{target}: {purpose}.")


def _stated_bags(
    sizes: list[int] | None, distribution: Literal["uniform", "pareto"] | None, data: str | None
) -> StatedTables | None:
    """Return the settings for drawing bags that the options give; None if they give none."""
    from dlrm_pl.data.formats.torchrec.stated import StatedTables

    if (sizes, distribution) == (None, None):
        return None
    if data is None:
        raise ConfigurationError(
            "--multi_hot_sizes and --multi_hot_distribution say how bags are drawn from single ids: give --data, the "
            "folder of the days with these ids."
        )
    return StatedTables.of_options(None, sizes, distribution)


def _known_dataset(data: str | None, counts: str | None, table_sizes: Sequence[int], bags: StatedTables | None) -> Any:
    """Read what is known about the dataset from the options; days in TorchRec's format do not state table sizes."""
    from dlrm_pl.model.upstream.foreign import KnownDataset

    if data is not None and counts is not None:
        raise ConfigurationError("--data and --counts state the same thing. Give only one of them.")
    if data is not None:
        from dlrm_pl.data.formats.dataset_folder import DatasetFolder
        from dlrm_pl.data.formats.torchrec.day_files import is_days_folder
        from dlrm_pl.data.formats.torchrec.stated import StatedTables

        stated = StatedTables.of_model(table_sizes, None)
        if bags is not None:
            # Only folders of days do not state the sizes of their tables.
            stated = replace(bags, table_sizes=stated.table_sizes if is_days_folder(Path(data)) else None)
        folder = DatasetFolder.open(data, rows=False, stated=stated)
        folder.check_dictionaries()  # The checkpoint records their fingerprint.
        return KnownDataset(folder.path, folder.table_sizes, folder.fingerprint, folder.columns)
    if counts is not None:
        from dlrm_pl.data.formats.vocabulary import check_counts, load_array

        path = Path(counts)
        return KnownDataset(path, check_counts(load_array(path, "counts"), path))
    return None


def _check(source: Path, target: Path, overwrite: bool) -> None:
    """Refuse, before any work is done, a target that would overwrite the source or another file."""
    if source.exists() and target.exists() and source.samefile(target):
        raise OutputError(f"{target}: is the input file. Choose another name for the output file.")
    check_file(target, overwrite)
