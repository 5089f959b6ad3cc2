"""Lists that were ranked live, for the next equal request: in the memory of a worker, or in a Redis that many share."""
