"""Vectors: LLVM instructions for them, and a type of Numba that stands for one."""
