"""Checkpoints in torch's file formats, larger than memory, read without ``torch.load`` and written in a stream.

``torch.load(mmap=True)`` maps a file privately and writable, which Linux refuses when the file is larger than memory,
and its older format cannot be mapped at all. Here a file is a directory of tensors, and each is read or mapped alone.
"""
