"""The components of a model directory, each as data: one module for each, and their registry."""
