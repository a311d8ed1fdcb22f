"""PyTorch modules of users: code that constructs them, and that records the files and packages that they read."""
