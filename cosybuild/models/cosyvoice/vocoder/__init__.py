"""The HiFT vocoders as exportable modules. They turn a mel spectrogram into a waveform."""
