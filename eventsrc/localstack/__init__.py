"""A real Kafka and a real Postgres on this machine, without Docker: found, fetched, started, shared, stopped.

Knows servers and processes. Must not know pipelines, topics of an application, or the worker.
"""
