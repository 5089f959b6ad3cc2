"""The input of every model: interactions as arrays, histories, ids; and the context that a fitted model keeps."""
