"""Checkpoints in torch's file formats, larger than memory, read without ``torch.load`` and written in a stream.

``torch.load(mmap=True)`` reserves memory for all of a file that it maps, which Linux refuses when the file is larger
than memory, and the older format cannot be mapped at all. Here a file is a directory of tensors, and each is read or
mapped alone.
"""
