"""Checkpoints of upstream DLRM: parameter names, import and export."""
