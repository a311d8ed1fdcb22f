"""The front ends of the flow model, which turn speech tokens and a prompt into the estimator's conditions."""
