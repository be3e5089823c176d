"""Lightning callbacks, each a thin layer of hooks."""
