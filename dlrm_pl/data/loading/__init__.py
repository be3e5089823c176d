"""Read a dataset folder in batches: datasets, loaders, sampling and the LightningDataModule."""
