"""The conf.yaml of LPOT's DLRM example."""

from __future__ import annotations

# As in the documentation of LPOT's DLRM example.
SEED = """
model:
  name: dlrm
  framework: pytorch

device: cpu

tuning:
  accuracy_criterion:
    relative: 0.01
  exit_policy:
    timeout: 0
  random_seed: 9527
"""
