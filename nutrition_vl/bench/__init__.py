"""Measures how fast photos are answered, next to transformers' generate."""

GENERATE, STATIC, OURS = "generate", "generate, static cache, compiled", "ours"
