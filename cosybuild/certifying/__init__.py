"""The command `certify`: it compares ONNX files from elsewhere with the networks of a model directory."""
