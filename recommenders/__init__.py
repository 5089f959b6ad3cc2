"""The recommender library: data, features, models and evaluation. It knows no platform."""
