"""Faces of packs and of negatives: tables and all that stands around them."""
