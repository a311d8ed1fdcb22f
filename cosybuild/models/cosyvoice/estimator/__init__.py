"""The estimators of the flow decoder: CosyVoice 1 and 2 (U-Net) and 3 (DiT), written for export."""
