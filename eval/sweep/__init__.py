"""Predicts with each checkpoint of a run, resumable."""
