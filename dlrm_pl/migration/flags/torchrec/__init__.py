"""Command lines of dlrm_main.py, the TorchRec program: MLPerf's DLRM v2."""
