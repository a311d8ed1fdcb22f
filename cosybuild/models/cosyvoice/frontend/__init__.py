"""The front ends of CosyVoice's flow model: from speech tokens and a prompt to the estimator's mu, spks and cond."""
