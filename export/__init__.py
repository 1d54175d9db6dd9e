"""Export a trained network to a dense ONNX model: the step that needs PyTorch.

What follows it, without PyTorch, is in `kpextract.export`.
"""
