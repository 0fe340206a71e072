"""kafka-python, idempotent by default. It refuses to send a header without a value."""

import sys

from exchange import PATIENCE_SECONDS, headers_of, lines, octets, say, say_record
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

verb, bootstrap = sys.argv[1:]


def produce():
    producers, pending = {}, []
    for line in lines():
        codec = line["codec"]
        if codec not in producers:
            compression = None if codec == "none" else codec
            producers[codec] = KafkaProducer(
                bootstrap_servers=bootstrap, compression_type=compression, linger_ms=20
            )
        sent = producers[codec].send(
            line["topic"],
            key=octets(line["key"]),
            value=octets(line["value"]),
            headers=headers_of(line),
            partition=line["partition"],
            timestamp_ms=line["timestamp"],
        )
        pending.append(sent)
    for sent in pending:
        place = sent.get(PATIENCE_SECONDS)
        say({"partition": place.partition, "offset": place.offset})
    for producer in producers.values():
        producer.close()


def reader():
    return KafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        consumer_timeout_ms=1000 * PATIENCE_SECONDS,
    )


def consume():
    consumer = reader()
    for line in lines():
        partition = TopicPartition(line["topic"], line["partition"])
        consumer.assign([partition])
        consumer.seek(partition, line["from"])
        for _ in range(line["count"]):
            record = next(consumer)
            if record.timestamp_type != 0:
                sys.exit(f"timestamp of kind {record.timestamp_type}")
            say_record(record.offset, record.timestamp, record.key, record.value, record.headers)
    consumer.close()


def offsets():
    consumer = reader()
    for line in lines():
        partition, at = TopicPartition(line["topic"], line["partition"]), line["at"]
        if at == "earliest":
            offset = consumer.beginning_offsets([partition])[partition]
        elif at == "latest":
            offset = consumer.end_offsets([partition])[partition]
        else:
            found = consumer.offsets_for_times({partition: at})[partition]
            # None: there is nothing so late.
            offset = -1 if found is None else found.offset
        say({"offset": offset})
    consumer.close()


{"produce": produce, "consume": consume, "offsets": offsets}[verb]()
