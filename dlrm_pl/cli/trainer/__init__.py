"""The commands that are methods of DLRMTrainer."""
