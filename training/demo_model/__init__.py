"""Rebuilds the embedded base model from nothing."""
