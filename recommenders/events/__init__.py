"""The input of every model: interactions as arrays, histories, ids."""
