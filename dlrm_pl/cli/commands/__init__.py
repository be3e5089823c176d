"""Commands that need no Trainer, one file each: functions whose signatures and docstrings are the --help text.

torch is imported inside a function where it is needed, so that ``--help`` and wrong usage answer at once. There is no
block for TYPE_CHECKING either: jsonargparse runs it to resolve annotations, and so would import torch.
"""
