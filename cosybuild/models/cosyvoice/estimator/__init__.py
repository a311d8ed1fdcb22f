"""The estimators of the flow decoder, for modules of CosyVoice 1 and 2 (U-Net) and 3 (DiT) that can be exported."""
