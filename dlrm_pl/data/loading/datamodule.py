"""DLRMDataModule: the loaders of a dataset folder as a LightningDataModule."""

from __future__ import annotations

import pytorch_lightning as pl

from dlrm_pl.data.loading.split_loaders import SplitLoaders


class DLRMDataModule(SplitLoaders, pl.LightningDataModule):
    """LightningDataModule of a dataset folder in MLPerf's binary format, with a loader for each split.

    Args:
        folder: dataset folder written by ``preprocess`` or ``synthesize``, or in MLPerf's format.
        batch_size: training rows per batch on each rank.
        eval_batch_size: rows per batch for validation, test, calibration and prediction.
        shuffle: order of the training rows. ``batch`` keeps the rows of a batch together and shuffles the batches
            (upstream's --mlperf-bin-shuffle), ``row`` shuffles the rows, ``none`` keeps the order of the file.
        seed: seed for shuffling; the order differs from epoch to epoch.
        num_workers: number of processes that read ahead; 0: a thread of this process reads ahead, which is usually
            fastest.
        max_ind_range: take indices of hex columns with a vocabulary modulo this number, and cap their tables at it; -1
            leaves them as in the folder.
        table_sizes: rows of each table, for days in TorchRec's format that do not state it.
        multi_hot_sizes: number of ids in a bag of each table; if the rows have single ids, the other ids are drawn.
        multi_hot_distribution: how bags are drawn: ``uniform`` (default) or ``pareto``.
        calibration_rows: first rows of val to use for calibration; the rest are for tuning. MLPerf prescribes 128,000;
            at most a tenth of val is used.
        predict_split: split that ``predict`` scores.
        predict_raw: rows that ``predict`` scores instead: a raw log (tab-separated, plain or .gz), or CSV, Parquet or
            Arrow files with the dataset's columns. Labels may be missing.
        predict_truncate_lists: whether to truncate lists in ``predict_raw`` that are longer than their column allows,
            instead of refusing them.
        predict_keep: names of columns to write next to the probabilities, as a list or as one comma-separated string.
            Files with named columns may have more columns than the model reads; splits have ids instead of categories.

    Raises:
        ConfigurationError: a value is out of range or has the wrong type; the message names the value.
        DatasetError: there is no such folder.
        DataFormatError: a file of the folder is missing or corrupt.

    Example:
        >>> import tempfile
        >>> from dlrm_pl import DLRMDataModule, synthesize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = synthesize(f"{folder}/clicks", rows=1000, max_table_size=100)
        ...     data = DLRMDataModule(f"{folder}/clicks", batch_size=100)
        ...     len(data.train_dataloader()), len(data.tuning_dataloader()), data.row_ranges["tuning"]
        (8, 1, RowRange(split='val', start=12, stop=125))
    """


TerabyteDataModule = DLRMDataModule
"""The data module's earlier name, which still works in Python and as a ``class_path``."""
