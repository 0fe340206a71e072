"""confluent-kafka, which is librdkafka: idempotent producer, reader by assignment. More words are settings of the producer."""

import sys

import confluent_kafka as kafka
from exchange import PATIENCE_SECONDS, headers_of, lines, octets, say, say_record

verb, bootstrap, *more = sys.argv[1:]


def produce():
    records, producers, places = lines(), {}, {}
    for number, line in enumerate(records):
        codec = line["codec"]
        if codec not in producers:
            settings = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20}
            settings |= {"compression.type": codec} | dict(word.split("=") for word in more)
            producers[codec] = kafka.Producer(settings)

        def done(error, message, number=number):
            if error is not None:
                raise kafka.KafkaException(error)
            places[number] = {"partition": message.partition(), "offset": message.offset()}

        producers[codec].produce(
            line["topic"],
            key=octets(line["key"]),
            value=octets(line["value"]),
            headers=headers_of(line),
            partition=line["partition"],
            timestamp=line["timestamp"],
            on_delivery=done,
        )
    for producer in producers.values():
        if producer.flush(PATIENCE_SECONDS) != 0:
            sys.exit("records are left without an answer")
    for number in range(len(records)):
        say(places[number])


def reader():
    return kafka.Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False})


def consume():
    consumer = reader()
    for line in lines():
        consumer.assign([kafka.TopicPartition(line["topic"], line["partition"], line["from"])])
        left = line["count"]
        while left > 0:
            message = consumer.poll(PATIENCE_SECONDS)
            if message is None or message.error():
                sys.exit(f"{line}: {left} records are missing: {message and message.error()}")
            kind, timestamp = message.timestamp()
            if kind != kafka.TIMESTAMP_CREATE_TIME:
                sys.exit(f"timestamp of kind {kind}")
            say_record(message.offset(), timestamp, message.key(), message.value(), message.headers())
            left -= 1
    consumer.close()


def offsets():
    consumer = reader()
    for line in lines():
        partition, at = kafka.TopicPartition(line["topic"], line["partition"]), line["at"]
        if at in ("earliest", "latest"):
            ends = consumer.get_watermark_offsets(partition, timeout=PATIENCE_SECONDS)
            say({"offset": ends[0 if at == "earliest" else 1]})
        else:
            partition.offset = at
            found = consumer.offsets_for_times([partition], timeout=PATIENCE_SECONDS)[0]
            if found.error:
                sys.exit(str(found.error))
            say({"offset": found.offset})
    consumer.close()


{"produce": produce, "consume": consume, "offsets": offsets}[verb]()
