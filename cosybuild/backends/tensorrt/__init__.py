"""The TensorRT family: one builder over the module object, `tensorrt` or `tensorrt_rtx`."""
