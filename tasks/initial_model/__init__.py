"""Builds the model that pre-training starts from: scratch, two towers, a released checkpoint."""
