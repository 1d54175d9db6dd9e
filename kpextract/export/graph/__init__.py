"""Read and transform ONNX graphs."""
