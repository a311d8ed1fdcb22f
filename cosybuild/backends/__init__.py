"""The runtimes ONNX Runtime, PyTorch, TensorRT and OpenVINO, behind one interface (`load` and `infer`)."""
