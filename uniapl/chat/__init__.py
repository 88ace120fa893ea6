"""Conversations as text and tokens of a chat template: rendering, control tokens, reasoning blocks."""
