"""A pipeline's catalog as the settings have it: with its schema files, and with the registry where one is configured."""

from __future__ import annotations

from eventsrc.codec.catalog import Catalog
from eventsrc.codec.registered import RegisteredSchemas
from eventsrc.model.pipeline import Pipeline
from eventsrc.runtime.settings import Settings

WORKER_WAIT_S = 0.5
"""How long a worker's loop waits for the registry: a record whose schema has not come by then pauses its partition."""
_CALLER_WAIT_S = 10.0


def open_catalog(pipeline: Pipeline, settings: Settings, *, wait_s: float = _CALLER_WAIT_S) -> Catalog:
    """Raises `InvalidSettings`. Asks no registry yet: getting a writer does, once."""
    return Catalog(pipeline, settings.schemas_dir, registered_schemas(settings, wait_s=wait_s))


def registered_schemas(settings: Settings, *, wait_s: float = _CALLER_WAIT_S) -> RegisteredSchemas | None:
    """None where no registry is configured: then nothing of it is imported either."""
    url = settings.schema_registry_url
    if url is None:
        return None
    from eventsrc.adapters.registry.cache import SchemaCache
    from eventsrc.adapters.registry.client import RegistryClient
    from eventsrc.adapters.registry.schemas import RegistrySchemas

    client = RegistryClient(url, settings.schema_registry_auth)
    return RegistrySchemas(client, SchemaCache(settings.state_dir, client.address), wait_s)
