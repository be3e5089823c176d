"""A quantized model as a program of ``torch.export``, which loads without this package."""
