"""The stages of the pipeline, one in each file, and their order; code that several stages use is in other packages."""
