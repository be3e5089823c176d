"""A quantized model as a ``torch.export`` program, which loads without this package."""
