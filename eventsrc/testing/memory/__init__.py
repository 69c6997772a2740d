"""Kafka in memory, as far as the ports show it: one broker, an adapter of each port on it, and a worker of these."""
