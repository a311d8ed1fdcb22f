"""The build engine. It knows nothing of models, stages or numerics."""
