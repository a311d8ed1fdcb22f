"""The CosyVoice flow-matching velocity estimators, versions 1 to 3, in plain PyTorch."""
