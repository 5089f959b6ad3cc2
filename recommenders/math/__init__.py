"""Functions from arrays to arrays: top k, sparse matrices, Gram matrices."""
