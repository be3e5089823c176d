"""Read and write torch's file formats without ``torch.load``, for checkpoints larger than memory.

``torch.load(mmap=True)`` reserves memory for the whole file that it maps, which Linux refuses if the file is larger
than memory, and files in the older format cannot be mapped at all. Here, opening a file reads only a directory of its
tensors, and each tensor is then read or mapped on its own.
"""
