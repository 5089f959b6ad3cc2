"""Makes a trained model the champion: registry, gate, refit checks, Bento. The service does not import it."""
