"""aiokafka, which starts with ApiVersions v0 and never goes beyond Fetch v11."""

import asyncio
import sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from exchange import PATIENCE_SECONDS, headers_of, lines, octets, say, say_record

verb, bootstrap = sys.argv[1:]


async def produce():
    producers, pending = {}, []
    for line in lines():
        codec = line["codec"]
        if codec not in producers:
            compression = None if codec == "none" else codec
            producers[codec] = AIOKafkaProducer(
                bootstrap_servers=bootstrap,
                compression_type=compression,
                enable_idempotence=True,
                linger_ms=20,
            )
            await producers[codec].start()
        sent = await producers[codec].send(
            line["topic"],
            key=octets(line["key"]),
            value=octets(line["value"]),
            headers=headers_of(line),
            partition=line["partition"],
            timestamp_ms=line["timestamp"],
        )
        pending.append(sent)
    for sent in pending:
        place = await asyncio.wait_for(sent, PATIENCE_SECONDS)
        say({"partition": place.partition, "offset": place.offset})
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


asyncio.run({"produce": produce, "consume": consume, "offsets": offsets}[verb]())
