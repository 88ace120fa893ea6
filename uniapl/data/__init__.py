"""Training data: order, encoding to tokens, reasoning blocks."""
