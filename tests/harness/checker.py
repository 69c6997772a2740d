"""The independent checker: evidence in, violations out. Pure; shares no code with the product.

Promises judged: I1-I6, I8 (basic), I9-I11 of reliability.md, the rules of terms, and the wire contract. No violation
found in n runs bounds the rate at 3/n, no more.
"""

from __future__ import annotations

from tests.harness.client_checks import check_clients
from tests.harness.evidence import Evidence
from tests.harness.log_checks import check_log
from tests.harness.log_view import Violation, decode_evidence
from tests.harness.model_checks import Application, check_application
from tests.harness.offset_checks import check_offsets
from tests.harness.snapshot_checks import check_snapshots


def check(evidence: Evidence, application: Application | None = None) -> list[Violation]:
    """Every violation, in a stable order. `application` adds the oracle of the application's own rules, where the
    whole pipeline is that application."""
    view = decode_evidence(evidence)
    found = [*view.violations, *check_log(view), *check_clients(view, evidence), *check_offsets(view, evidence)]
    if application is not None:
        found += check_application(view, evidence, application)
        found += check_snapshots(view, evidence, application)
    return sorted(
        set(found), key=lambda violation: (violation.invariant, violation.topic, violation.partition, violation.offsets)
    )


def report(violations: list[Violation]) -> str:
    """For an assertion's message: the first twenty, one a line."""
    lines = [f"{len(violations)} violations", *map(str, violations[:20])]
    return "\n".join(lines)
