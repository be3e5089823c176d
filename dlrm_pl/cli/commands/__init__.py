"""Commands that need no Trainer, one file each: functions whose signatures and docstrings are the --help text.

torch is imported inside the functions that need it, so that ``--help`` and usage errors appear at once. There are no
TYPE_CHECKING blocks either, because jsonargparse executes them to resolve annotations, which would import torch.
"""
