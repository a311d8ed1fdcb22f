"""The components of a model directory, for modules that each describe one network or file as data; their registry."""
