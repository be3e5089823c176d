"""Strategies that choose recipes with a model of the trials so far, which Optuna maintains."""
