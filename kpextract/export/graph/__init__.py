"""ONNX graphs: what they say of themselves, and each way to change one."""
