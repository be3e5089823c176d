"""Lightning hooks, a few lines each."""
