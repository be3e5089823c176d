"""Dataset folders in the format of TorchRec's scripts: three NumPy files per day, memory-mapped as they are."""
