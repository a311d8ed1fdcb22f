"""The backend of TensorRT and TensorRT-RTX: code that works with either module, `tensorrt` or `tensorrt_rtx`."""
