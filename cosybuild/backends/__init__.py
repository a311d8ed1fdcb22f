"""The runtimes ONNX Runtime, PyTorch and TensorRT behind one interface (load, infer)."""
