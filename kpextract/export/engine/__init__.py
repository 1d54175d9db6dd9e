"""TensorRT engines: what is asked of the builder, the plan, the file."""
