"""The front ends of the flow model, for modules that turn tokens and a prompt into the estimator's inputs."""
