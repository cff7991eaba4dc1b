"""Photographs drawn packages: perspective, light, blur, noise."""
