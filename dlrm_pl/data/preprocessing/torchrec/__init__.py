"""Raw logs -> days in TorchRec's format, with the bytes of its three scripts, in bounded memory."""
