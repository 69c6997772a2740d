"""The one table of errors, where a right is missing; and how what is missing is put into words."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError, KafkaException

from eventsrc.adapters.kafka.errors import is_about_unused_group, refused, translate
from eventsrc.adapters.kafka.rights import ROLES, Right, grant, not_authorized, principal_of, rights_of
from eventsrc.adapters.kafka.topics import planned_topics
from eventsrc.errors import AccessDenied, Retriable
from tests.unit.codec.app import pipeline

WRITE = Right("Write", "topic", "bank.account.events", "events are written")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "topic"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "group"),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactional-id"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "cluster"),
    ],
)
@pytest.mark.parametrize("fatal", [False, True])
def test_a_missing_right_is_never_retried_nor_in_doubt(code: int, kind: str, fatal: bool) -> None:
    error = translate(KafkaException(KafkaError(code, "no", fatal, not fatal, True)), "committing")
    assert isinstance(error, AccessDenied)
    assert error.kind == kind
    assert str(error) == "committing: no"


def test_what_may_be_repeated_is_still_repeated() -> None:
    assert isinstance(translate(KafkaException(KafkaError(KafkaError._TIMED_OUT)), "committing"), Retriable)


def test_only_a_group_that_is_never_joined_is_passed_over() -> None:
    group, topic = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED), KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    assert is_about_unused_group(group, None)
    assert not is_about_unused_group(group, "bank.replies")
    assert not is_about_unused_group(topic, None)


def test_an_error_names_user_right_purpose_and_mend() -> None:
    error = not_authorized({"sasl.username": "app"}, [WRITE], "Kafka's words")
    assert "User:app" in str(error)
    assert "Write on topic bank.account.events (Kafka's words)" in str(error)
    (problem,) = error.problems
    assert problem.startswith("Write on topic bank.account.events: events are written. Grant it: kafka-acls.sh ")
    assert problem.endswith("--add --allow-principal User:app --operation Write --topic bank.account.events")
    assert "this client's user" in str(not_authorized({}, [WRITE]))


def test_of_what_an_operation_needs_the_refused_kind_is_named() -> None:
    needed = [WRITE, Right("Read", "group", "bank")]
    error = refused(KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED, "no"), "joining", None, needed)
    assert "Read on group bank" in str(error)
    assert "Write" not in str(error)


def test_names_are_quoted_for_the_shell() -> None:
    line = grant(Right("Write", "transactional-id", "a b-", prefixed=True), "User:CN=app, O=x", "host:1")
    assert line == (
        "kafka-acls.sh --bootstrap-server host:1 --add --allow-principal 'User:CN=app, O=x' --operation Write "
        "--transactional-id 'a b-' --resource-pattern-type prefixed"
    )


def test_only_a_sasl_user_is_known_by_name() -> None:
    assert principal_of({"sasl.username": "app"}) == "User:app"
    assert principal_of({"ssl.certificate.location": "app.pem"}) is None
    assert principal_of(None) is None


@pytest.mark.parametrize("role", [role for role in ROLES if role != "doctor"])
def test_a_roles_rights_are_on_the_pipelines_own_resources(role: str) -> None:
    topics = {each.name for each in planned_topics(pipeline)}
    rights = rights_of(pipeline, role)  # type: ignore[arg-type]  # one of ROLES
    assert len(set(rights)) == len(rights)
    assert {right.name for right in rights if right.kind == "topic"} <= topics
    assert all(right.name.startswith(pipeline.settings.group_id) for right in rights if right.kind != "topic")
    assert all(right.purpose for right in rights)
