"""The deployment of artifacts into service: the choice of files, the conditions, and the change as one step."""
