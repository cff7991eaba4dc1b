"""Scores predictions: a model predicts once, then its file is compared with the truth."""
