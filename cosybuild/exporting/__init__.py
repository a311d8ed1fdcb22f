"""The export of a PyTorch module to ONNX, by the exporters of torch."""
