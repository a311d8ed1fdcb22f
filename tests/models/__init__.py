"""Models: their inputs and outputs, profiles, weights and networks."""
