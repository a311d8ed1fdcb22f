"""The store, the planner and the runner. Nothing here depends on models, stages or numerics."""
