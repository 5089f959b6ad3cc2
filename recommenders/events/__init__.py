"""What every model is handed: interactions as arrays, histories, ids."""
