"""Draws the surroundings of a table on a package."""
