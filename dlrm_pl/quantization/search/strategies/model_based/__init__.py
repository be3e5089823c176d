"""Strategies that choose by a model of the trials so far, which Optuna keeps."""
