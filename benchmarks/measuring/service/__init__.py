"""What drives the service: clients that send load, and a PostgreSQL for its feedback store."""
