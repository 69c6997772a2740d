"""Reports of workers as Prometheus metrics: `/metrics`. Rendered when it is scraped, from numbers that are counted anyway.

`eventsrc_*`, in base units, labelled by worker, aggregate and partition, never by an aggregate's id: there are millions.
The library (`pip install eventsrc[metrics]`) is imported here, so this module is imported at the first scrape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from eventsrc.engine.report import HistogramReport, PartitionReport, TotalsReport, WorkerReport
from eventsrc.engine.takeover import Phase
from eventsrc.runtime.health import Observed

_PHASES = tuple(phase.name.lower() for phase in Phase)
_Labels = Mapping[str, str]


def render(workers: Sequence[Observed], now_us: int, accept: str) -> tuple[bytes, str]:
    """The exposition, and its content type, as the scraper's Accept header wants it."""
    encode, content_type = choose_encoder(accept)
    return encode(_Families(workers, now_us)), content_type


class _Families(Collector):
    """What `prometheus_client` calls a registry: something that is collected."""

    def __init__(self, workers: Sequence[Observed], now_us: int) -> None:
        self._workers = workers
        self._now_us = now_us
        self._found: dict[str, Metric] = {}

    def collect(self) -> Iterable[Metric]:
        for worker in self._workers:
            self._gauge("eventsrc_worker_running", "Whether its process runs.", {}, worker.pid is not None, worker)
            self._gauge(
                "eventsrc_worker_ready",
                "Whether each of its partitions is open.",
                {},
                worker.why_not_ready is None,
                worker,
            )
            self._gauge("eventsrc_loop_turned_age_seconds", "Since its loop last turned.", {}, worker.age_s, worker)
            if worker.report is not None:
                self._worker(worker, worker.report)
                self._totals(worker, worker.report.totals)
                for partition in worker.report.partitions:
                    self._partition(worker, partition)
            if worker.pid is not None:
                self._process(worker, worker.pid)
        return self._found.values()

    # ---- of one worker

    def _worker(self, worker: Observed, report: WorkerReport) -> None:
        self._gauge(
            "eventsrc_worker_info", "The pipeline that a worker belongs to.", {"pipeline": report.pipeline}, 1, worker
        )
        phases = [each.phase for each in report.partitions]
        for name, about, value in (
            ("eventsrc_partitions_assigned", "Partitions that are this worker's.", len(phases)),
            ("eventsrc_partitions_open", "Of these, those that take commands.", phases.count("open")),
            (
                "eventsrc_partitions_halted",
                "Of these, those that stand still until someone acts.",
                phases.count("halted"),
            ),
            (
                "eventsrc_predicted_recovery_seconds",
                "How long it would take to recover now.",
                report.predicted_recovery_s,
            ),
            ("eventsrc_recovery_objective_seconds", "The declared recovery time objective.", report.objective_s),
            ("eventsrc_snapshots_failing", "Whether no checkpoint can be written.", report.snapshots is not None),
        ):
            self._gauge(name, about, {}, value, worker)

    def _totals(self, worker: Observed, of: TotalsReport) -> None:
        outcomes = {name: getattr(of, name) for name in ("applied", "rejected", "empty", "duplicate", "dead")}
        results = {
            "committed": of.transactions_committed,
            "aborted": of.transactions_aborted,
            "in_doubt": of.transactions_in_doubt,
        }
        checkpoints = {"written": of.checkpoints, "failed": of.checkpoints_failed}
        for name, about, label, values in (
            ("eventsrc_commands", "Commands, by what became of them.", "outcome", outcomes),
            ("eventsrc_dead_letters", "Commands that were set aside, by reason.", "reason", of.dead_by_reason),
            ("eventsrc_transactions", "Transactions, by how they ended.", "result", results),
            ("eventsrc_checkpoints", "Checkpoints of partitions.", "result", checkpoints),
        ):
            for key, value in values.items():
                self._counter(name, about, {label: key}, value, worker)
        for name, about, value in (
            ("eventsrc_events", "Events that were committed.", of.events),
            ("eventsrc_rebalances", "Generations of the group that this worker took part in.", of.rebalances),
            (
                "eventsrc_producer_replacements",
                "Transactional producers that had to be replaced.",
                of.producers_replaced,
            ),
            ("eventsrc_halts", "Partitions that were halted.", of.halts),
            ("eventsrc_recoveries", "Partitions that were recovered and opened.", of.recoveries),
            ("eventsrc_recovery_seconds", "What these took, from the assignment on.", of.recovery_s),
            ("eventsrc_events_replayed", "Events that were folded for them.", of.events_replayed),
            ("eventsrc_checkpoint_bytes", "Bytes of states that checkpoints added.", of.checkpoint_bytes),
        ):
            self._counter(name, about, {}, value, worker)
        for name, about, histogram in (
            ("eventsrc_transaction_duration_seconds", "From its first record to its known outcome.", of.transaction_s),
            ("eventsrc_batch_commands", "Commands of one transaction.", of.batch_commands),
            ("eventsrc_checkpoint_duration_seconds", "From its first state to the database's answer.", of.checkpoint_s),
        ):
            self._histogram(name, about, histogram, worker)

    def _process(self, worker: Observed, pid: int) -> None:
        """What Prometheus's clients tell of every process."""
        for metric in ProcessCollector(pid=lambda: pid, registry=None).collect():
            family = self._found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
            for sample in metric.samples:
                family.add_sample(sample.name, {"worker": worker.instance, **sample.labels}, sample.value)

    # ---- of one partition

    def _partition(self, worker: Observed, of: PartitionReport) -> None:
        labels = {"aggregate": of.partition.aggregate, "partition": str(of.partition.number)}
        for phase in _PHASES:
            self._gauge(
                "eventsrc_partition_phase",
                "1 for the phase that it is in.",
                {**labels, "phase": phase},
                of.phase == phase,
                worker,
            )
        for name, about, value in self._partition_gauges(of):
            if value is not None:
                self._gauge(name, about, labels, value, worker)

    def _partition_gauges(self, of: PartitionReport) -> Iterator[tuple[str, str, float | None]]:
        yield "eventsrc_lag_commands", "Commands that wait; only while it is open.", of.lag
        yield "eventsrc_aggregates", "Aggregates that the log has told of.", of.aggregates
        yield "eventsrc_live_aggregates", "Aggregates that are objects in memory now.", of.live
        yield "eventsrc_checkpoint_tail_events", "Events since the newest checkpoint, or in all.", of.tail
        if of.checkpoint is not None:
            age_s = max(0.0, (self._now_us - of.checkpoint.taken_us) / 1e6)
            yield "eventsrc_checkpoint_age_seconds", "Since the newest checkpoint was taken.", age_s
            yield "eventsrc_checkpoint_size_bytes", "Bytes that the newest checkpoint loads.", of.checkpoint.size_bytes
        if of.recovery is not None:
            yield "eventsrc_recovery_offsets_needed", "Offsets that its recovery reads.", of.recovery.need
            yield "eventsrc_recovery_offsets_read", "Of these, those that have been read.", of.recovery.have

    # ---- families

    def _gauge(self, name: str, about: str, labels: _Labels, value: float, worker: Observed) -> None:
        family = self._family(name, lambda: GaugeMetricFamily(name, about))
        family.add_sample(name, {"worker": worker.instance, **labels}, float(value))

    def _counter(self, name: str, about: str, labels: _Labels, value: float, worker: Observed) -> None:
        family = self._family(name, lambda: CounterMetricFamily(name, about))
        family.add_sample(f"{name}_total", {"worker": worker.instance, **labels}, float(value))

    def _histogram(self, name: str, about: str, of: HistogramReport, worker: Observed) -> None:
        family, labels = self._family(name, lambda: HistogramMetricFamily(name, about)), {"worker": worker.instance}
        reached = 0
        for bound, count in zip((*of.bounds, float("inf")), of.counts, strict=True):
            reached += count
            family.add_sample(f"{name}_bucket", {**labels, "le": _bound_text(bound)}, reached)
        family.add_sample(f"{name}_count", labels, reached)
        family.add_sample(f"{name}_sum", labels, of.sum)

    def _family(self, name: str, make: Callable[[], Metric]) -> Metric:
        family = self._found.get(name)
        if family is None:
            family = self._found[name] = make()
        return family


def _bound_text(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
