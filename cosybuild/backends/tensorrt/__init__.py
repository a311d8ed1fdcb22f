"""The backend of the TensorRT family: code that works with either module, `tensorrt` or `tensorrt_rtx`."""
