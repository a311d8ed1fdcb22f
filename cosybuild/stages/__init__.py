"""The stages of the pipeline, one in each file, and their order.

Code that several stages share is in other packages.
"""
