"""The networks of CosyVoice 1, 2 and 3 in plain PyTorch, and the code that they share."""
