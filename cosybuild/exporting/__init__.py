"""The export of a PyTorch module to ONNX, for code that calls the exporters of torch."""
