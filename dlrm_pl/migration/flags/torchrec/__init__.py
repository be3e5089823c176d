"""Command lines of the program on TorchRec, dlrm_main.py: MLPerf's DLRM v2."""
