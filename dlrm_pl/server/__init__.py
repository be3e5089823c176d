"""An HTTP server of artifacts that speaks the Open Inference Protocol, version 2."""
