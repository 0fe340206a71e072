"""The lines that every client program here reads and writes: one JSON object each, bytes in hexadecimal or null.

    PROGRAM produce BOOTSTRAP   {topic, codec, acks: "all" | "1" | "0", partition, timestamp, key, value, headers: [[name, bytes], ..]}
                                -> {partition, offset}
    PROGRAM consume BOOTSTRAP   {topic, partition, from, count} -> count times {offset, timestamp, key, value, headers}
    PROGRAM offsets BOOTSTRAP   {topic, partition, at: "earliest" | "latest" | milliseconds} -> {offset}
    PROGRAM group BOOTSTRAP     {group, topic, protocol: "classic" | "consumer", assignor: name | null}
                                -> {assigned: [partition, ..]} whenever that has changed, and {partition, offset, value} for each record
    PROGRAM admin BOOTSTRAP     {do: "create", topic, partitions, configs: {name: value}} -> {}
                                {do: "topics"} -> {topics: [name, ..]}
                                {do: "describe", topic} -> {partitions: count}
                                {do: "grow", topic, partitions} -> {}
                                {do: "configs", topic} -> {configs: {name: value}}
                                {do: "alter", topic, configs: {name: value}} -> {}
                                {do: "trim", topic, partition, before} -> {low: offset}
                                {do: "groups"} -> {groups: [name, ..]}
                                {do: "group", group} -> {state, members: count}
                                {do: "offsets", group} -> {offsets: [[topic, partition, offset], ..]}
                                {do: "move", group, topic, partition, offset} -> {}
                                {do: "forget", group} -> {}
                                {do: "delete", topic} -> {}
                                {do: "cluster"} -> {brokers: count}
                                or {error: text}

The answers come in the order of the lines. A member of a group (`group`) commits what it has said, before it asks for more, and
leaves when its standard input ends; its first line is its only one.
"""

import json
import sys
import threading

PATIENCE_SECONDS = 60


def lines():
    return [json.loads(line) for line in sys.stdin if line.strip()]


def octets(text):
    return None if text is None else bytes.fromhex(text)


def text(octets):
    return None if octets is None else bytes(octets).hex()


def say(answer):
    print(json.dumps(answer), flush=True)


def say_record(offset, timestamp, key, value, headers):
    headers = [[name, text(octets)] for name, octets in headers or []]
    say({"offset": offset, "timestamp": timestamp, "key": text(key), "value": text(value), "headers": headers})


def headers_of(line):
    return [(name, octets(value)) for name, value in line["headers"]]


def joined():
    """The line of a member, and what is set once it is to leave."""
    line, ended = json.loads(sys.stdin.readline()), threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return line, ended


def say_assigned(partitions):
    say({"assigned": sorted(partitions)})


def say_read(record_partition, offset, value):
    say({"partition": record_partition, "offset": offset, "value": text(value)})


def answer_each(answers):
    """Answers each line with what the function of its name says of it."""
    for line in sys.stdin:
        line = json.loads(line)
        try:
            say(answers[line["do"]](line) or {})
        except Exception as error:  # Whatever a library throws is its answer.
            say({"error": f"{type(error).__name__}: {error}"})
