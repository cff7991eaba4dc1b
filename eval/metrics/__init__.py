"""Defines every number of an evaluation."""
