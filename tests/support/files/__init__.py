"""Files in torch's formats, and checkpoints as other programs wrote them."""
