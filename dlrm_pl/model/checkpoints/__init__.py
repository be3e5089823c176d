"""Checkpoints: opened, checked, mapped and loaded."""
