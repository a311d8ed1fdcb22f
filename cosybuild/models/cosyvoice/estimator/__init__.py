"""The estimators of the flow decoder as exportable modules: CosyVoice 1 and 2 (U-Net), and 3 (DiT)."""
