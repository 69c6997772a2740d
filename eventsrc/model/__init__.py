"""What an application declares: the pipeline, its aggregates and messages, their fields, names and ids.

Knows neither Avro nor Kafka: `codec` turns these descriptions into schemas, `engine` runs the methods.
"""
