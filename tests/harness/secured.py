"""A broker that asks who its clients are and what they may do: TLS, SCRAM users, and Kafka's own authorizer.

Its plain listener stays, on loopback, as the super user's: users and rights are made through it.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # public names, re-exported without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eventsrc.localstack.distribution import KafkaDistribution
from eventsrc.localstack.kafka import KafkaBroker
from eventsrc.localstack.processes import LOOPBACK, free_port
from tests.harness.collect import wait_until

_MECHANISM = "SCRAM-SHA-512"
_TIMEOUT_S = 20


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def client_pem(self, name: str, password: bytes) -> tuple[bytes, bytes]:
        """A certificate, and its key, which opens with that password."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        certificate = _certificate(_named(name), key, self.name, self.key, usage)
        encrypted = serialization.BestAvailableEncryption(password)
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def server_pem(self) -> bytes:
        """A key and a certificate for a server on loopback, as Kafka's PEM key store takes them."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        certificate = _certificate(_named(LOOPBACK), key, self.name, self.key, names)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return private + certificate.public_bytes(serialization.Encoding.PEM) + self.pem()


def authority(name: str) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    named = _named(name)
    constraint = x509.BasicConstraints(ca=True, path_length=0)
    return Authority(named, key, _certificate(named, key, named, key, constraint))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    issuer_key: ec.EllipticCurvePrivateKey,
    extension: x509.ExtensionType,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    built = x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(),
        now - datetime.timedelta(hours=1), now + datetime.timedelta(days=1),
    )  # fmt: skip
    return built.add_extension(extension, critical=True).sign(issuer_key, hashes.SHA256())


class SecuredBroker:
    """`bootstrap_servers` is the SASL_SSL listener's; `mutual` that of one where certificates are the login; `plain` that
    of the super user."""

    def __init__(
        self, directory: Path, broker: KafkaBroker, ports: Mapping[str, int], ca: Path, signing: Authority
    ) -> None:
        self.directory = directory
        self.broker = broker
        self.ca = ca
        self.authority = signing
        self.bootstrap_servers = f"{LOOPBACK}:{ports['SECURED']}"
        self.mutual = f"{LOOPBACK}:{ports['MUTUAL']}"
        self.plain = broker.bootstrap_servers
        self._admin = AdminClient({"bootstrap.servers": self.plain, "log_level": 0})

    def add_user(self, name: str, password: str) -> dict[str, str]:
        """Returns the settings by which a client is this user."""
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        upsertion = UserScramCredentialUpsertion(name, credential, password.encode())
        self._admin.alter_user_scram_credentials([upsertion])[name].result(_TIMEOUT_S)
        wait_until(
            lambda: self._knows_user(name), _TIMEOUT_S, f"the broker knows {name}: the controller answers before"
        )
        return self.settings(name, password)

    def settings(self, name: str, password: str) -> dict[str, str]:
        return {
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.ca),
            "sasl.mechanism": _MECHANISM,
            "sasl.username": name,
            "sasl.password": password,
        }

    def allow(self, user: str, rights: Iterable[tuple[str, str, str, bool]]) -> None:
        """Each right as operation, kind of resource, name, whether the name is a prefix."""
        given = list(rights)
        for made in self._admin.create_acls([_binding(user, *right) for right in given]).values():
            made.result(_TIMEOUT_S)
        wait_until(lambda: all(self._has(user, right) for right in given), _TIMEOUT_S, f"{user} has the rights")

    def withdraw(self, user: str, rights: Iterable[tuple[str, str, str, bool]]) -> None:
        taken = list(rights)
        for deleted in self._admin.delete_acls([_filter(user, *right) for right in taken]).values():
            assert deleted.result(_TIMEOUT_S), "there was no such right"
        wait_until(
            lambda: not any(self._has(user, right) for right in taken), _TIMEOUT_S, f"{user} has lost the rights"
        )

    def _knows_user(self, name: str) -> bool:
        described = self._admin.describe_user_scram_credentials([name])
        assert isinstance(described, dict)
        try:
            return bool(described[name].result(_TIMEOUT_S).scram_credential_infos)
        except KafkaException:
            return False

    def _has(self, user: str, right: tuple[str, str, str, bool]) -> bool:
        """As the broker knows it, which is asked here, and not the controller."""
        return bool(self._admin.describe_acls(_filter(user, *right)).result(_TIMEOUT_S))


def _pattern(prefixed: bool) -> ResourcePatternType:
    return ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL


def _resource(kind: str) -> ResourceType:
    return {
        "topic": ResourceType.TOPIC,
        "group": ResourceType.GROUP,
        "transactional-id": ResourceType.TRANSACTIONAL_ID,
        "cluster": ResourceType.BROKER,
    }[kind]


def _operation(name: str) -> AclOperation:
    return {
        "Read": AclOperation.READ,
        "Write": AclOperation.WRITE,
        "Describe": AclOperation.DESCRIBE,
        "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
        "Create": AclOperation.CREATE,
        "Delete": AclOperation.DELETE,
    }[name]


def _binding(user: str, operation: str, kind: str, name: str, prefixed: bool) -> AclBinding:
    return AclBinding(
        _resource(kind), name, _pattern(prefixed), f"User:{user}", "*", _operation(operation), AclPermissionType.ALLOW
    )


def _filter(user: str, operation: str, kind: str, name: str, prefixed: bool) -> AclBindingFilter:
    return AclBindingFilter(
        _resource(kind), name, _pattern(prefixed), f"User:{user}", "*", _operation(operation), AclPermissionType.ALLOW
    )


@contextlib.contextmanager
def secured_broker(directory: Path, distribution: KafkaDistribution) -> Iterator[SecuredBroker]:
    directory.mkdir(parents=True, exist_ok=True)
    made = authority("eventsrc tests")
    ca, key_store = directory / "ca.pem", directory / "server.pem"
    ca.write_bytes(made.pem())
    key_store.write_bytes(made.server_pem())
    ports = {"SECURED": free_port(), "MUTUAL": free_port()}
    with KafkaBroker(directory, distribution, properties=_properties(key_store, ca), further_listeners=ports) as broker:
        yield SecuredBroker(directory, broker, ports, ca, made)


def _properties(key_store: Path, ca: Path) -> dict[str, str]:
    return {
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(key_store),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(ca),
        "listener.name.mutual.ssl.client.auth": "required",
        "sasl.enabled.mechanisms": _MECHANISM,
        "listener.name.secured.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        # Whoever comes through the plain listener, which only this machine reaches: the brokers themselves and the test.
        "super.users": "User:ANONYMOUS",
    }
