"""A quantized model as OpenVINO's IR, converted from the graph of ONNX."""
