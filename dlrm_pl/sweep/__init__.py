"""Search for training settings: short training runs, pruned by their AUROC on val, kept in Optuna's storage."""
