from .architecture import Architecture as Architecture
from .checkpoints.contract import CheckpointContract as CheckpointContract
from .dlrm import DLRM as DLRM
from .load import load_checkpoint as load_checkpoint
from .training.lightning_module import DLRMModule as DLRMModule
