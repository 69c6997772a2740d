"""Opens what commands read with: the pipeline's catalog and a reader of its events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from eventsrc.cli.session import Session
from eventsrc.model.pipeline import Pipeline
from eventsrc.runtime.catalogs import open_catalog
from eventsrc.runtime.connection import KafkaConnection
from eventsrc.runtime.reading import AggregateReader


@contextmanager
def open_reader(session: Session, pipeline: Pipeline) -> Iterator[AggregateReader]:
    settings = session.settings
    catalog = open_catalog(pipeline, settings)
    reader = AggregateReader(pipeline, catalog, KafkaConnection(session.kafka_address, settings.kafka))
    try:
        yield reader
    finally:
        reader.close()
