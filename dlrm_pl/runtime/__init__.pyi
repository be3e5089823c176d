from .int8_dlrm import Int8DLRM as Int8DLRM
