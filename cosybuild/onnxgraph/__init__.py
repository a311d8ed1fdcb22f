"""ONNX graphs as files and data: code that reads, checks, cleans, rewrites and writes them."""
