"""A quantized model as ONNX, by Gather, MatMulInteger and other standard ops of opset 21."""
