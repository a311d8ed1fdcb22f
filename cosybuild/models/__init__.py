"""Models: what goes in and out of them, where their weights lie, and the CosyVoice estimators."""
