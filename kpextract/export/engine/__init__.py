"""Build TensorRT engines: input shapes, plan and file."""
