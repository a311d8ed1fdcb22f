"""ONNX graphs: code that reads, checks, cleans, rewrites and writes them."""
