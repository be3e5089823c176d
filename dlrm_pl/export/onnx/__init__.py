"""A quantized model as ONNX, with Gather, MatMulInteger and other standard ops of opset 21."""
