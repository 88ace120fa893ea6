"""Training data: order of rows, token encoding, reasoning blocks."""
