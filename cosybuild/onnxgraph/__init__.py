"""ONNX graphs as files and data, for code that reads, checks, cleans, rewrites or writes them."""
