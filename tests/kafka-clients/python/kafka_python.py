"""kafka-python, idempotent by default. It refuses to send a header without a value."""

import sys

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
from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.admin import ConfigResource
from kafka.errors import KafkaError

verb, bootstrap = sys.argv[1:]


def produce():
    producers, pending = {}, []
    for line in lines():
        codec, acks = kind = line["codec"], line["acks"]
        if kind not in producers:
            compression = None if codec == "none" else codec
            # Idempotent, as it comes, with acks=all.
            weaker = {} if acks == "all" else {"acks": int(acks), "enable_idempotence": False}
            producers[kind] = KafkaProducer(
                bootstrap_servers=bootstrap, compression_type=compression, linger_ms=20, **weaker
            )
        sent = producers[kind].send(
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


class Told(ConsumerRebalanceListener):
    """Says what the member holds."""

    def __init__(self):
        self.held = set()

    def on_partitions_assigned(self, assigned):
        self.held.update(partition.partition for partition in assigned)
        say_assigned(self.held)

    def on_partitions_revoked(self, revoked):
        self.held.difference_update(partition.partition for partition in revoked)
        say_assigned(self.held)


def group():
    line, ended = joined()
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=line["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        session_timeout_ms=20_000,
    )
    consumer.subscribe([line["topic"]], listener=Told())
    while not ended.is_set():
        records = [record for batch in consumer.poll(timeout_ms=200).values() for record in batch]
        for record in records:
            say_read(record.partition, record.offset, record.value)
        if records:
            try:
                consumer.commit()
            except KafkaError as error:
                # The group moves on, or the broker is away: what was not committed comes again.
                print(error, file=sys.stderr)
    consumer.close()


def admin():
    client = KafkaAdminClient(bootstrap_servers=bootstrap)
    topic_named = lambda line, configs=None: ConfigResource("TOPIC", line["topic"], configs)

    def create(line):
        client.create_topics({line["topic"]: {"num_partitions": line["partitions"], "configs": line["configs"]}})

    def configs(line):
        found = client.describe_configs([topic_named(line)], config_filter="all")["topic"][line["topic"]]
        return {"configs": {name: entry["value"] for name, entry in found.items()}}

    def trim(line):
        partition = TopicPartition(line["topic"], line["partition"])
        return {"low": client.delete_records({partition: line["before"]})[partition]["low_watermark"]}

    def described(line):
        found = client.describe_groups([line["group"]])[line["group"]]
        return {"state": found["group_state"], "members": len(found["members"])}

    def offsets(line):
        found = client.list_group_offsets({line["group"]: None})[line["group"]]
        return {"offsets": [[one.topic, one.partition, found[one].offset] for one in found]}

    def move(line):
        partition = TopicPartition(line["topic"], line["partition"])
        client.alter_group_offsets(line["group"], {partition: OffsetAndMetadata(line["offset"], "", -1)})

    answer_each({
        "create": create,
        "topics": lambda line: {"topics": client.list_topics()},
        "describe": lambda line: {"partitions": len(client.describe_topics([line["topic"]])[0]["partitions"])},
        "grow": lambda line: client.create_partitions({line["topic"]: line["partitions"]}) and None,
        "configs": configs,
        "alter": lambda line: client.alter_configs([topic_named(line, line["configs"])]) and None,
        "trim": trim,
        "groups": lambda line: {"groups": [one["group_id"] for one in client.list_groups()]},
        "group": described,
        "offsets": offsets,
        "move": move,
        "forget": lambda line: client.delete_groups([line["group"]]) and None,
        "delete": lambda line: client.delete_topics([line["topic"]]) and None,
        "cluster": lambda line: {"brokers": len(client.describe_cluster()["brokers"])},
    })


{"produce": produce, "consume": consume, "offsets": offsets, "group": group, "admin": admin}[verb]()
