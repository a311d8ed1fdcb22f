"""Files of weights in every form that trainers write: their parts, their content, and the choice of a state dict."""
