"""Post-training quantization of a model with one recipe."""
