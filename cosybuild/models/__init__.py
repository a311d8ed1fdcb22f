"""Models: their inputs, outputs and weights, and the CosyVoice estimators."""
