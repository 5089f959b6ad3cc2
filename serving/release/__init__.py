"""From a trained model to a champion: registry, gate, refit, Bento. Nothing that answers imports it."""
