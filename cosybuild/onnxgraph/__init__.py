"""ONNX graphs as files and as data: reading, writing, checking, cleaning, counting."""

# The largest size of weights inside the file: a protobuf message is limited to 2 GiB, and the graph needs room too.
INLINE_LIMIT = 2**31 - 2**26
