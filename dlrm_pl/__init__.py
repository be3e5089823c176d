"""DLRM on PyTorch Lightning, from raw click logs to an int8 model with a certified AUROC drop.

The public names are listed in the stub file next to this one. Each is imported when it is first used, so that
``import dlrm_pl`` takes no time.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
