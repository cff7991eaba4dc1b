"""Finds wrong labels and photos that occur in two splits."""
