"""The front ends of the flow model, which turn tokens and a prompt into the estimator's inputs."""
