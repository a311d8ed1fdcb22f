"""Files of weights in every layout that trainers write: their shards, their content, and the choice of a state dict."""
