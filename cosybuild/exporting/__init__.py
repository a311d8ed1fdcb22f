"""The export of a PyTorch module to ONNX with the exporters of torch."""
