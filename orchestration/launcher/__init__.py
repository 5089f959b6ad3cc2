"""The processes of `tradewind run`: Dagster runs, services and their supervisor."""
