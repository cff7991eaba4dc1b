"""Loads weights: bases, quantisation, processors, adapters and checkpoints."""
