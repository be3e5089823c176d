"""Read a conf.yaml of LPOT (Intel's Low Precision Optimization Tool) and apply it to a quantization."""
