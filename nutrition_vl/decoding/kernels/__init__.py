"""Faster ways to compute the same: matrix products on a CPU, fused kernels and graphs on a GPU."""
