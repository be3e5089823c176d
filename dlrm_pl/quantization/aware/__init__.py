"""Quantization-aware training: the int8 model's arithmetic in floats, with gradients."""
