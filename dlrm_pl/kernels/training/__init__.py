"""A DLRM training step in native code: forward, backward and update of all weights in one call."""
