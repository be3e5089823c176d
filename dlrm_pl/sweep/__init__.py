"""Search over the settings of a training: short trainings, pruned by their AUROC on val, kept in Optuna's storage."""
