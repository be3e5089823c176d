"""Read folders of tensors that several processes wrote: torch's distributed checkpoints (DCP), and torchsnapshot's."""
