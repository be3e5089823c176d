"""Post-training quantization of a model by one recipe."""
