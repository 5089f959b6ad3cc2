"""What a shop steers lists with: attributes of items, and the conditions of filters."""
