"""Tuning: values of a model's settings are tried on the validation window, by trials of an Optuna study."""
