"""The HiFT vocoders, for modules that turn a mel spectrogram into a waveform and can be exported."""
