"""The networks of CosyVoice 1 to 3 in plain PyTorch, and the code that they share."""
