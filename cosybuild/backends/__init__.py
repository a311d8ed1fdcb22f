"""The runtimes behind one interface (load, infer), for code that calls ONNX Runtime, PyTorch or TensorRT."""
