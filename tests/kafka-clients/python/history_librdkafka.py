"""confluent-kafka, which is librdkafka, as a client that writes a history: see history.py."""

import sys
import time

import confluent_kafka as kafka
from history import DELIVERY_SECONDS, POLL_SECONDS, Pace, began, carry_out, name_of, payload, read_whole, ready

bootstrap, path = sys.argv[1:]
wish, journal, ended = began(path)
topic = wish["topic"]
COMMON = {"bootstrap.servers": bootstrap, "reconnect.backoff.ms": 50, "reconnect.backoff.max.ms": 500}
# Said of the request or by the library itself, whatever happened before: the record is not there. Of anything else nobody knows.
DEFINITE = {
    kafka.KafkaError._QUEUE_FULL,
    kafka.KafkaError._PURGE_QUEUE,
    kafka.KafkaError.MSG_SIZE_TOO_LARGE,
    kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED,
}


def write():
    settings = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, "retry.backoff.ms": 50}
    settings |= {"delivery.timeout.ms": 1000 * DELIVERY_SECONDS, "request.timeout.ms": 5000}
    producer, pace, number = kafka.Producer(COMMON | settings), Pace(wish["pace"]), 0
    ready()
    while not ended.is_set():
        pace.wait()
        value, partition = wish["first"] + number, number % wish["partitions"]
        number += 1
        journal.send(value, name_of(topic, partition))

        def done(error, message, value=value):
            if error is None:
                # No offset (`null`) where the broker knew the batch already and did not say where it lies.
                journal.acked(value, message.offset())
            elif error.code() in DEFINITE:
                journal.failed(value, error)
            else:
                journal.unknown(value, error)

        try:
            producer.produce(topic, payload(value), partition=partition, on_delivery=done)
        except BufferError as error:
            journal.failed(value, error)
        producer.poll(0)
    producer.flush(DELIVERY_SECONDS + 10)


def reader(**more):
    settings = {"group.id": f"of {wish['process']}", "enable.auto.commit": False, "check.crcs": True}
    settings |= {"fetch.wait.max.ms": 200, "fetch.error.backoff.ms": 50, "auto.offset.reset": "error"}
    return kafka.Consumer(COMMON | settings | more)


def poll(consumer):
    """Records as (partition name, offset, bytes), and partitions that their reader is thrown out of."""
    since, records, lost = time.monotonic_ns(), [], []
    for message in consumer.consume(500, timeout=POLL_SECONDS):
        error = message.error()
        if error is None:
            records.append((name_of(topic, message.partition()), message.offset(), message.value()))
            continue
        if error.code() in (kafka.KafkaError._AUTO_OFFSET_RESET, kafka.KafkaError.OFFSET_OUT_OF_RANGE):
            journal.thrown_out(name_of(topic, message.partition()), error)
            lost.append(message.partition())
        else:
            journal.note(f"{message.partition()}: {error}")
    journal.polled(since, records)
    return records, lost


def read():
    consumer = reader()
    places = {partition: 0 for partition in range(wish["partitions"])}
    journal.moved("assign", [[name_of(topic, partition), 0] for partition in places])
    assign = lambda: consumer.assign([kafka.TopicPartition(topic, *place) for place in places.items()])
    assign()
    ready()
    while not ended.is_set():
        records, lost = poll(consumer)
        for name, offset, _ in records:
            places[int(name.rpartition("-")[2])] = offset + 1
        if lost:
            # It insists: nothing that was read goes away, so its place must come again.
            assign()
    consumer.close()


def group():
    consumer = reader(**{
        "group.id": wish["group"],
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 500,
    })

    def moved(why):
        return lambda _, partitions: journal.moved(why, [[name_of(topic, one.partition), None] for one in partitions])

    consumer.subscribe([topic], on_assign=moved("assigned"), on_revoke=moved("revoked"), on_lost=moved("revoked"))
    ready()
    while not ended.is_set():
        records, _ = poll(consumer)
        if records:
            commit(consumer, records)
    consumer.close()


def commit(consumer, records):
    since, ends = time.monotonic_ns(), {name: offset + 1 for name, offset, _ in records}
    try:
        consumer.commit(asynchronous=False)
        error = None
    except kafka.KafkaException as failed:
        # The group moves on, or the broker is away: what was not committed comes again.
        error = failed
    journal.committed(since, list(ends.items()), error)


def whole():
    consumer = reader()

    def ends(partition):
        return consumer.get_watermark_offsets(kafka.TopicPartition(topic, partition), timeout=5)

    def start(partition, offset):
        consumer.assign([kafka.TopicPartition(topic, partition, offset)])

    def found(partition, end):
        # Without what has come after the reading began.
        since, name = time.monotonic_ns(), name_of(topic, partition)
        messages = consumer.consume(500, timeout=POLL_SECONDS)
        for message in messages:
            if message.error():
                journal.note(message.error())
        good = [message for message in messages if not message.error() and message.offset() < end]
        records = [(name, message.offset(), message.value()) for message in good]
        return journal.polled(since, records).get(name, [])

    read_whole((wish, journal, ended), kafka.KafkaException, ends, start, found)
    consumer.close()


carry_out(wish, journal, write=write, read=read, group=group, whole=whole)
