"""Metrics of click models: exact AUROC, calibration, and the paired difference of two models."""
