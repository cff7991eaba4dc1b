"""Scores what models found: predict once, then compare files with the truth."""
