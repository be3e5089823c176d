"""HTTP server for artifacts that speaks the Open Inference Protocol, version 2."""
