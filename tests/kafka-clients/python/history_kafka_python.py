"""kafka-python as a client that writes a history: see history.py."""

import sys
import time

from history import DELIVERY_SECONDS, POLL_SECONDS, Pace, began, carry_out, name_of, payload, read_whole, ready
from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    KafkaError,
    LogTruncationError,
    MessageSizeTooLargeError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

bootstrap, path = sys.argv[1:]
wish, journal, ended = began(path)
topic = wish["topic"]
COMMON = {
    "bootstrap_servers": bootstrap.split(","),
    "reconnect_backoff_ms": 50,
    "reconnect_backoff_max_ms": 500,
    "retry_backoff_ms": 50,
}
POLL_MS = int(1000 * POLL_SECONDS)
THROWN_OUT = (LogTruncationError, NoOffsetForPartitionError, OffsetOutOfRangeError)


def write():
    # Idempotent, as it comes, with acks=all.
    producer = KafkaProducer(
        linger_ms=5, delivery_timeout_ms=1000 * DELIVERY_SECONDS, request_timeout_ms=5000, acks="all", **COMMON
    )
    pace, number = Pace(wish["pace"]), 0
    ready()
    while not ended.is_set():
        pace.wait()
        value, partition = wish["first"] + number, number % wish["partitions"]
        number += 1
        journal.send(value, name_of(topic, partition))

        def done(place, value=value):
            journal.acked(value, place.offset)

        def failed(error, value=value):
            # Of what was on its way nobody knows, whatever the last attempt was told.
            said = journal.failed if isinstance(error, MessageSizeTooLargeError) else journal.unknown
            said(value, error)

        try:
            sent = producer.send(topic, payload(value), partition=partition)
        except KafkaError as error:
            # It was not taken.
            journal.failed(value, error)
            continue
        sent.add_callback(done).add_errback(failed)
    producer.flush(DELIVERY_SECONDS + 10)
    producer.close(5)


def reader(**more):
    return KafkaConsumer(
        **(COMMON | {"enable_auto_commit": False, "auto_offset_reset": "none", "fetch_max_wait_ms": 200} | more)
    )


def poll(consumer, keeps=lambda record: True):
    """Reads once: the records, which stand in the journal then."""
    since, records = time.monotonic_ns(), []
    try:
        for batch in consumer.poll(timeout_ms=POLL_MS).values():
            records += [record for record in batch if keeps(record)]
    except THROWN_OUT as error:
        journal.thrown_out(topic, error)
        raise
    except KafkaError as error:
        # Nobody can be reached, or the group moves on: it tries again.
        journal.note(f"{type(error).__name__}: {error}")
        ended.wait(0.05)
        return {}
    return journal.polled(
        since, [(name_of(topic, record.partition), record.offset, record.value) for record in records]
    )


def read():
    consumer = reader()
    partitions = [TopicPartition(topic, partition) for partition in range(wish["partitions"])]
    places = {partition: 0 for partition in partitions}
    consumer.assign(partitions)
    journal.moved("assign", [[name_of(*partition), 0] for partition in partitions])
    seek = lambda: [consumer.seek(partition, place) for partition, place in places.items()]
    seek()
    ready()
    while not ended.is_set():
        try:
            for name, found in poll(consumer).items():
                places[TopicPartition(topic, int(name.rpartition("-")[2]))] = found[-1][0] + 1
        except THROWN_OUT:
            # It insists: nothing that was read goes away, so its place must come again.
            ended.wait(0.05)
            seek()
    consumer.close()


class Told(ConsumerRebalanceListener):
    """Writes down what the member holds."""

    def on_partitions_assigned(self, assigned):
        journal.moved("assigned", [[name_of(*partition), None] for partition in assigned])

    def on_partitions_revoked(self, revoked):
        journal.moved("revoked", [[name_of(*partition), None] for partition in revoked])


def group():
    consumer = reader(
        group_id=wish["group"], auto_offset_reset="earliest", session_timeout_ms=6000, heartbeat_interval_ms=500
    )
    consumer.subscribe([topic], listener=Told())
    ready()
    while not ended.is_set():
        try:
            found = poll(consumer)
        except THROWN_OUT:
            found = {}
        if not found:
            continue
        since, error = time.monotonic_ns(), None
        try:
            consumer.commit()
        except KafkaError as failed:
            # The group moves on, or the broker is away: what was not committed comes again.
            error = failed
        journal.committed(since, [[name, records[-1][0] + 1] for name, records in found.items()], error)
    consumer.close()


def whole():
    consumer = reader()

    def ends(partition):
        # A client for each attempt: this one asks the leader that it knows of again and again, for as long as it may, and looks for no
        # other when it hears that another leads (3.0.12).
        place, asking = TopicPartition(topic, partition), reader()
        try:
            begin = asking.beginning_offsets([place], timeout_ms=2000)
            return begin[place], asking.end_offsets([place], timeout_ms=2000)[place]
        finally:
            asking.close()

    def start(partition, offset):
        place = TopicPartition(topic, partition)
        consumer.assign([place])
        consumer.seek(place, offset)

    def found(partition, end):
        return poll(consumer, lambda record: record.offset < end).get(name_of(topic, partition), [])

    read_whole((wish, journal, ended), KafkaError, ends, start, found)
    consumer.close()


carry_out(wish, journal, write=write, read=read, group=group, whole=whole)
