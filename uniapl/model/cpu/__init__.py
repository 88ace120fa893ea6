"""CPU kernels that a GPU run never loads."""
