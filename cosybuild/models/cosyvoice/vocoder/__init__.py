"""The HiFT vocoders as exportable modules, which turn a mel spectrogram into a waveform."""
