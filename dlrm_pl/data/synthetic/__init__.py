"""Synthetic click logs with a known best possible AUROC."""
