"""Dataset rows, uploads, and the pipeline that validates them."""
