"""The lines that every client program here reads and writes: one JSON object each, bytes in hexadecimal or null.

    PROGRAM produce BOOTSTRAP   {topic, codec, partition, timestamp, key, value, headers: [[name, bytes], ..]} -> {partition, offset}
    PROGRAM consume BOOTSTRAP   {topic, partition, from, count} -> count times {offset, timestamp, key, value, headers}
    PROGRAM offsets BOOTSTRAP   {topic, partition, at: "earliest" | "latest" | milliseconds} -> {offset}

The answers come in the order of the lines.
"""

import json
import sys

PATIENCE_SECONDS = 60


def lines():
    return [json.loads(line) for line in sys.stdin if line.strip()]


def octets(text):
    return None if text is None else bytes.fromhex(text)


def text(octets):
    return None if octets is None else bytes(octets).hex()


def say(answer):
    print(json.dumps(answer))


def say_record(offset, timestamp, key, value, headers):
    headers = [[name, text(octets)] for name, octets in headers or []]
    say({"offset": offset, "timestamp": timestamp, "key": text(key), "value": text(value), "headers": headers})


def headers_of(line):
    return [(name, octets(value)) for name, value in line["headers"]]
