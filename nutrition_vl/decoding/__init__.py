"""Tokens out of the model: the grammar of answers, and the steps that say them."""
