"""confluent-kafka, which is librdkafka: idempotent producer with acks=all. More words are settings of the producer."""

import sys

import confluent_kafka as kafka
from confluent_kafka import admin as kafka_admin
from exchange import (
    PATIENCE_SECONDS,
    answer_each,
    headers_of,
    joined,
    lines,
    octets,
    say,
    say_assigned,
    say_read,
    say_record,
)

verb, bootstrap, *more = sys.argv[1:]


def produce():
    records, producers, places = lines(), {}, {}
    for number, line in enumerate(records):
        codec, acks = kind = line["codec"], line["acks"]
        if kind not in producers:
            settings = {"bootstrap.servers": bootstrap, "enable.idempotence": acks == "all", "linger.ms": 20}
            settings |= {"compression.type": codec, "acks": acks} | dict(word.split("=") for word in more)
            producers[kind] = kafka.Producer(settings)

        def done(error, message, number=number):
            if error is not None:
                raise kafka.KafkaException(error)
            # Nothing, if no answer was asked for.
            offset = -1 if message.offset() is None else message.offset()
            places[number] = {"partition": message.partition(), "offset": offset}

        producers[kind].produce(
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


def group():
    line, ended = joined()
    settings = {"bootstrap.servers": bootstrap, "group.id": line["group"], "group.protocol": line["protocol"]}
    settings |= {"enable.auto.commit": False, "auto.offset.reset": "earliest", "reconnect.backoff.max.ms": 500}
    if line["protocol"] == "classic":
        settings |= {"heartbeat.interval.ms": 300, "session.timeout.ms": 20_000}
    if line["assignor"]:
        settings["partition.assignment.strategy"] = line["assignor"]
    consumer, held = kafka.Consumer(settings), set()

    def assigned(consumer, partitions):
        held.update(partition.partition for partition in partitions)
        say_assigned(held)

    def revoked(consumer, partitions):
        held.difference_update(partition.partition for partition in partitions)
        say_assigned(held)

    consumer.subscribe([line["topic"]], on_assign=assigned, on_revoke=revoked, on_lost=revoked)
    while not ended.is_set():
        records = [record for record in consumer.consume(500, timeout=0.2) if not record.error()]
        for record in records:
            say_read(record.partition(), record.offset(), record.value())
        if records:
            commit(consumer)
    consumer.close()


def commit(consumer):
    try:
        consumer.commit(asynchronous=False)
    except kafka.KafkaException as error:
        # The group moves on, or the broker is away: what was not committed comes again.
        print(error, file=sys.stderr)


def admin():
    client = kafka_admin.AdminClient({"bootstrap.servers": bootstrap})
    topic_named = lambda line, **more: kafka_admin.ConfigResource(kafka_admin.ResourceType.TOPIC, line["topic"], **more)
    result = lambda futures: next(iter(futures.values())).result(PATIENCE_SECONDS)
    offsets_of = kafka.ConsumerGroupTopicPartitions

    def create(line):
        new = kafka_admin.NewTopic(line["topic"], num_partitions=line["partitions"], config=line["configs"])
        result(client.create_topics([new]))

    def describe(line):
        found = result(client.describe_topics(kafka.TopicCollection([line["topic"]])))
        return {"partitions": len(found.partitions)}

    def configs(line):
        found = result(client.describe_configs([topic_named(line)]))
        return {"configs": {name: entry.value for name, entry in found.items()}}

    def alter(line):
        entries = [
            kafka_admin.ConfigEntry(name, value, incremental_operation=kafka_admin.AlterConfigOpType.SET)
            for name, value in line["configs"].items()
        ]
        result(client.incremental_alter_configs([topic_named(line, incremental_configs=entries)]))

    def trim(line):
        before = kafka.TopicPartition(line["topic"], line["partition"], line["before"])
        return {"low": result(client.delete_records([before])).low_watermark}

    def described(line):
        found = result(client.describe_consumer_groups([line["group"]]))
        return {"state": found.state.name, "members": len(found.members)}

    def offsets(line):
        found = result(client.list_consumer_group_offsets([offsets_of(line["group"])]))
        return {"offsets": [[one.topic, one.partition, one.offset] for one in found.topic_partitions]}

    def move(line):
        to = kafka.TopicPartition(line["topic"], line["partition"], line["offset"])
        for one in result(client.alter_consumer_group_offsets([offsets_of(line["group"], [to])])).topic_partitions:
            if one.error:
                raise kafka.KafkaException(one.error)

    answer_each({
        "create": create,
        "topics": lambda line: {"topics": list(client.list_topics(timeout=PATIENCE_SECONDS).topics)},
        "describe": describe,
        "grow": lambda line: result(
            client.create_partitions([kafka_admin.NewPartitions(line["topic"], line["partitions"])])
        ),
        "configs": configs,
        "alter": alter,
        "trim": trim,
        "groups": lambda line: {
            "groups": [one.group_id for one in client.list_consumer_groups().result(PATIENCE_SECONDS).valid]
        },
        "group": described,
        "offsets": offsets,
        "move": move,
        "forget": lambda line: result(client.delete_consumer_groups([line["group"]])),
        "delete": lambda line: result(client.delete_topics([line["topic"]])),
        "cluster": lambda line: {"brokers": len(client.describe_cluster().result(PATIENCE_SECONDS).nodes)},
    })


{"produce": produce, "consume": consume, "offsets": offsets, "group": group, "admin": admin}[verb]()
