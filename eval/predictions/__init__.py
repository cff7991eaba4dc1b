"""Reads predicted boxes from any file."""
