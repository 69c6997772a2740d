"""Who is in the group: asked before a transactional id is taken from somebody.

A transactional id belongs to an instance id, and an instance id to whoever the group coordinator says: taking the id
from a rightful holder would end it.
"""

from __future__ import annotations

import logging

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from eventsrc.adapters.kafka.config import Config
from eventsrc.adapters.kafka.errors import translate


class GroupQueries:
    """From any thread, one at a time."""

    def __init__(self, common: Config, group_id: str) -> None:
        self._common = common
        self._group_id = group_id
        self._admin: AdminClient | None = None

    def members(self) -> dict[str, str]:
        """Member id by instance id, of static members. Raises a WorkerError, among them AccessDenied."""
        if self._admin is None:
            self._admin = AdminClient(dict(self._common), logger=logging.getLogger("eventsrc.librdkafka"))
        try:
            group = self._admin.describe_consumer_groups([self._group_id])[self._group_id].result()
        except KafkaException as exception:
            raise translate(exception, "asking who is in the group") from exception
        return {member.group_instance_id: member.member_id for member in group.members if member.group_instance_id}
