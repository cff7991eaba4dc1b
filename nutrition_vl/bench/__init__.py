"""Measures how fast photos are answered, next to transformers' generate."""
