"""Read folders of tensors written by several processes: torch's distributed checkpoints (DCP), and torchsnapshot's."""
