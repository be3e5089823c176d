"""Decide whether a quantized model is acceptable: scores, criterion, guards, certification."""
