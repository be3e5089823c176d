"""Measure how sensitive the model is to quantizing each op."""
