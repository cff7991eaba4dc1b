"""Prompt and photo -> tokens and boxes, inside the grammar of boxes."""
