"""The proof or refutation of ONNX files that somebody else made, against the networks of a model directory."""
