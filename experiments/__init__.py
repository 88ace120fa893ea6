"""Experiments: comparisons of training runs, each one command."""
