"""One training step of DLRM in native code: forward, backward and update of all weights in one call."""
