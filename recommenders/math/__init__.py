"""Arrays in, arrays out: top k, sparse matrices, Gram matrices."""
