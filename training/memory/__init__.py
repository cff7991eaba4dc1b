"""Measures memory and time of each training technique."""
