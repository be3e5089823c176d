"""Raw logs -> days in TorchRec's format, byte-identical to its three scripts, in bounded memory."""
