"""The components of a model directory: one module for each network or file, which describes it, and their registry."""
