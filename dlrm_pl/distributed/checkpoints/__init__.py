"""Checkpoints of sharded tables: each process writes its parts, and reads those that it needs."""
