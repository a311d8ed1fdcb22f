"""The components of a model directory, for modules that each describe one network as data, and their registry."""
