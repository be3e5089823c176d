"""Commands that are methods of DLRMTrainer."""
