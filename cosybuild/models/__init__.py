"""Models, for code about their inputs, outputs, profiles, weights and networks."""
