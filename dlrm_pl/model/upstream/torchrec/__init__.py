"""Checkpoints of TorchRec's DLRM, versions 1 and 2: import and export."""
