"""Experiments: comparisons of training runs, one command each."""
