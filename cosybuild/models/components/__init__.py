"""The components of a model directory: one Python module for each network or ONNX file, and their registry."""
