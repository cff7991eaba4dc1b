"""Turns labelled rows into training batches."""
