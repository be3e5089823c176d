"""Files and folders on disk: locks, atomic writes, memory maps, and what may be replaced."""
