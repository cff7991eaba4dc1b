"""Draws what surrounds a table on a package."""
