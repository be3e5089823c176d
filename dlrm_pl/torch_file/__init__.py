"""Read and write torch's file formats without ``torch.load``, for checkpoints larger than memory.

``torch.load(mmap=True)`` reserves memory for the whole file that it maps, which Linux refuses when the file is larger
than memory, and the older format cannot be mapped at all. Here a file is a directory of tensors, and each of them is
read or mapped on its own.
"""
