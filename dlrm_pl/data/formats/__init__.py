"""Binary format of a dataset folder: records, dictionaries, checksums and ``dataset.json``."""
