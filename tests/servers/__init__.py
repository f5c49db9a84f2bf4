"""The private servers of a test run: PostgreSQL, Valkey as cache and as broker, and RabbitMQ."""
