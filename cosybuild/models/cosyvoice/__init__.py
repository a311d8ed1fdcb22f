"""The networks of CosyVoice 1 to 3 in plain PyTorch, for code that their estimators and other parts share."""
