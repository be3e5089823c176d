"""Dataset folders in the format of TorchRec's scripts: three NumPy files for each day, mapped as they are."""
