"""Measure models side by side: float, compiled, eager int8 and the int8 artifact, in one process, in turn."""
