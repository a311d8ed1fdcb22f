"""The front ends of CosyVoice's flow model, which turn tokens and a prompt into the estimator's mu, spks and cond."""
