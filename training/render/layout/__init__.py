"""Typesets nutrition tables and other text blocks."""
