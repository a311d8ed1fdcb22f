"""ONNX graphs as files and as data: reading, writing, checking, cleaning, counting."""

# A protobuf message ends at 2 GiB; the graph around the weights needs room below it.
INLINE_LIMIT = 2**31 - 2**26
