"""The HiFT vocoder: log-mel spectrogram to waveform, written for export."""
