"""Models: their inputs, outputs, profiles, weights and networks."""
