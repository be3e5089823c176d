from .architecture import Architecture as Architecture
from .dlrm import DLRM as DLRM
from .training.lightning_module import DLRMModule as DLRMModule
