"""Forecasts a run's memory and fits the run to it."""
