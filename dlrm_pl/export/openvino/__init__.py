"""A quantized model as OpenVINO IR, converted from the ONNX graph."""
