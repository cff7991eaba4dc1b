"""Faces of packs and of what is no pack: tables and all that stands around them."""
