"""Benchmark models side by side: float, compiled, eager int8 and the int8 artifact, taking turns in one process."""
