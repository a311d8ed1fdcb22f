"""The export of a PyTorch module to ONNX with torch's exporters."""
