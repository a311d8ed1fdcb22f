"""ONNX graphs as files and as data: reading, writing, checking, cleaning, counting."""
