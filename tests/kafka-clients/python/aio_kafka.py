"""aiokafka, which starts with ApiVersions v0 and never goes beyond Fetch v11."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from exchange import (
    PATIENCE_SECONDS,
    headers_of,
    joined,
    lines,
    octets,
    say,
    say_assigned,
    say_read,
    say_record,
)

verb, bootstrap = sys.argv[1:]


async def produce():
    producers, pending = {}, []
    for line in lines():
        codec, acks = kind = line["codec"], line["acks"]
        if kind not in producers:
            compression = None if codec == "none" else codec
            producers[kind] = AIOKafkaProducer(
                bootstrap_servers=bootstrap,
                compression_type=compression,
                enable_idempotence=acks == "all",
                acks=acks if acks == "all" else int(acks),
                linger_ms=20,
            )
            await producers[kind].start()
        sent = await producers[kind].send(
            line["topic"],
            key=octets(line["key"]),
            value=octets(line["value"]),
            headers=headers_of(line),
            partition=line["partition"],
            timestamp_ms=line["timestamp"],
        )
        pending.append(sent)
    for sent in pending:
        # Nothing, if no answer was asked for.
        place = await asyncio.wait_for(sent, PATIENCE_SECONDS)
        say({"partition": place.partition, "offset": place.offset} if place else {"partition": -1, "offset": -1})
    for producer in producers.values():
        await producer.stop()


async def consume():
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    for line in lines():
        partition = TopicPartition(line["topic"], line["partition"])
        consumer.assign([partition])
        consumer.seek(partition, line["from"])
        for _ in range(line["count"]):
            record = await asyncio.wait_for(consumer.getone(), PATIENCE_SECONDS)
            say_record(record.offset, record.timestamp, record.key, record.value, record.headers)
    await consumer.stop()


async def offsets():
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    await consumer.start()
    for line in lines():
        partition, at = TopicPartition(line["topic"], line["partition"]), line["at"]
        if at == "earliest":
            offset = (await consumer.beginning_offsets([partition]))[partition]
        elif at == "latest":
            offset = (await consumer.end_offsets([partition]))[partition]
        else:
            found = (await consumer.offsets_for_times({partition: at}))[partition]
            offset = -1 if found is None else found.offset
        say({"offset": offset})
    await consumer.stop()


class Told(ConsumerRebalanceListener):
    """Says what the member holds."""

    async def on_partitions_assigned(self, assigned):
        say_assigned(partition.partition for partition in assigned)

    async def on_partitions_revoked(self, revoked):
        say_assigned([])


async def group():
    line, ended = joined()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=line["group"],
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=300,
        session_timeout_ms=20_000,
    )
    consumer.subscribe([line["topic"]], listener=Told())
    await consumer.start()
    while not ended.is_set():
        records = [record for batch in (await consumer.getmany(timeout_ms=200)).values() for record in batch]
        for record in records:
            say_read(record.partition, record.offset, record.value)
        if records:
            try:
                await consumer.commit()
            except KafkaError as error:
                # The group moves on, or the broker is away: what was not committed comes again.
                print(error, file=sys.stderr)
    await consumer.stop()


def check(code, message=None):
    if code:
        raise for_code(code)(message)


async def admin():
    """It can neither move the offsets of a group nor delete one."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()

    async def create(line):
        new = NewTopic(line["topic"], line["partitions"], 1, topic_configs=line["configs"])
        for _, code, *more in (await client.create_topics([new])).topic_errors:
            check(code, more)

    async def topics(line):
        return {"topics": await client.list_topics()}

    async def describe(line):
        (found,) = await client.describe_topics([line["topic"]])
        return {"partitions": len(found["partitions"])}

    async def grow(line):
        await client.create_partitions({line["topic"]: NewPartitions(line["partitions"])})

    async def configs(line):
        found = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, line["topic"])])
        code, message, _, _, entries = found[0].resources[0]
        check(code, message)
        return {"configs": {entry[0]: entry[1] for entry in entries}}

    async def alter(line):
        wanted = ConfigResource(ConfigResourceType.TOPIC, line["topic"], line["configs"])
        for answer in await client.alter_configs([wanted]):
            for code, message, *_ in answer.resources:
                check(code, message)

    async def trim(line):
        partition = TopicPartition(line["topic"], line["partition"])
        return {"low": (await client.delete_records({partition: RecordsToDelete(line["before"])}))[partition]}

    async def groups(line):
        return {"groups": [group for group, _ in await client.list_consumer_groups()]}

    async def described(line):
        (found,) = (await client.describe_consumer_groups([line["group"]]))[0].groups
        check(found[0])
        return {"state": found[2], "members": len(found[5])}

    async def offsets(line):
        found = await client.list_consumer_group_offsets(line["group"])
        return {"offsets": [[one.topic, one.partition, place.offset] for one, place in found.items()]}

    async def delete(line):
        for _, code in (await client.delete_topics([line["topic"]])).topic_error_codes:
            check(code)

    async def cluster(line):
        return {"brokers": len((await client.describe_cluster())["brokers"])}

    answers = {"create": create, "topics": topics, "describe": describe, "grow": grow, "configs": configs, "alter": alter}
    answers |= {"trim": trim, "groups": groups, "group": described, "offsets": offsets, "delete": delete, "cluster": cluster}
    loop = asyncio.get_running_loop()
    while text := await loop.run_in_executor(None, sys.stdin.readline):
        line = json.loads(text)
        try:
            say(await answers[line["do"]](line) or {})
        except Exception as error:  # Whatever the library throws is its answer.
            say({"error": f"{type(error).__name__}: {error}"})
    await client.close()


asyncio.run({"produce": produce, "consume": consume, "offsets": offsets, "group": group, "admin": admin}[verb]())
