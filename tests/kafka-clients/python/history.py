"""What the clients that write histories share: the lines (tests/src/history/line.rs), values and chains.

    PROGRAM BOOTSTRAP FILE   and one line of JSON on standard input:

    {do: "write", process, topic, partitions, first, pace}   sends records until standard input ends: numbers from `first` on, to all
                                                             partitions in turn, at most `pace` a second
    {do: "read", process, topic, partitions}                 reads all partitions from their beginning until standard input ends
    {do: "group", process, topic, group}                     reads as a member of a group, commits what it has read
    {do: "whole", process, topic, partitions}                reads all partitions from beginning to end, once

Each prints `{"ready": true}` once it is at work, and ends when its standard input does, or when it is done.
"""

import json
import sys
import threading
import time

MASK = (1 << 64) - 1
SPREAD = 400
# How long a client waits for an answer before it says that nobody knows: longer than faults keep a partition from acknowledging.
# librdkafka begins a new epoch when it gives a record up, and sends all again, in every partition, that may be there already.
DELIVERY_SECONDS = 300
POLL_SECONDS = 0.3


def payload(value):
    word = b"%016x" % value
    length = 16 + (value * 7919 & MASK) % SPREAD
    return (word * (length // 16 + 1))[:length]


def value_of(octets):
    if octets is None or len(octets) < 16:
        return None
    try:
        value = int(bytes(octets[:16]), 16)
    except ValueError:
        return None
    return value if payload(value) == octets else None


class Chain:
    """The hash of all records so far, in their order."""

    def __init__(self):
        self.hash = 0x6D696C6C72616365

    def add(self, offset, value):
        state = ((self.hash << 23 | self.hash >> 41) & MASK) ^ offset & MASK
        state = state * 0x9E3779B97F4A7C15 & MASK
        state = (state ^ (MASK if value is None else value)) * 0xBF58476D1CE4E5B9 & MASK
        self.hash = state ^ state >> 29


class Journal:
    """The file of one client."""

    def __init__(self, path, process):
        self.file, self.process, self.lock = open(path, "x", buffering=1), process, threading.Lock()

    def write(self, **event):
        with self.lock:
            # Under the lock: the lines of a file are in the order of their times.
            line = {"t": time.monotonic_ns(), "p": self.process, "e": event}
            self.file.write(json.dumps(line, separators=(",", ":")) + "\n")

    def note(self, text):
        self.write(note=str(text))

    def thrown_out(self, at, why):
        self.write(thrown_out={"at": at, "why": str(why)})

    def send(self, value, at):
        self.write(send={"value": value, "at": at})

    def acked(self, value, offset):
        self.write(acked={"value": value, "offset": offset})

    def failed(self, value, why):
        self.write(failed={"value": value, "why": str(why)})

    def unknown(self, value, why):
        self.write(unknown={"value": value, "why": str(why)})

    def moved(self, why, places):
        self.write(moved={"why": why, "at": places})

    def polled(self, since, records):
        """`records`: (partition name, offset, value in bytes) of each."""
        found = {}
        for name, offset, octets in records:
            found.setdefault(name, []).append([offset, value_of(octets)])
        self.write(polled={"since": since, "records": found})
        return found

    def committed(self, since, offsets, error):
        self.write(committed={"since": since, "at": offsets, "error": None if error is None else str(error)})

    def whole(self, since, at, begin, end, chain):
        self.write(whole={"since": since, "at": at, "from": begin, "to": end, "hash": chain.hash})


class Pace:
    """Lets so many through in a second, evenly."""

    def __init__(self, a_second):
        self.each, self.due = 1 / a_second, time.monotonic()

    def wait(self):
        self.due = max(self.due + self.each, time.monotonic() - 0.1)
        time.sleep(max(0, self.due - time.monotonic()))


def began(path):
    """The wish, the journal, and what is set once standard input has ended."""
    wish, ended = json.loads(sys.stdin.readline()), threading.Event()

    def wait():
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    return wish, Journal(path, wish["process"]), ended


def ready():
    print(json.dumps({"ready": True}), flush=True)


def name_of(topic, partition):
    return f"{topic}-{partition}"


def carry_out(wish, journal, **ways):
    """Does what was wished for. However that ends, all that was written down is in the file."""
    try:
        ways[wish["do"]]()
    finally:
        journal.file.close()


def read_whole(work, errors, ends, start, poll):
    """Reads all partitions from beginning to end, once, as this client does it:

    ends(partition)          tells where it begins and ends, or raises one of `errors`: then it is asked again
    start(partition, offset) lets the next polls read from there
    poll(partition, end)     the offsets and values that one poll has found below `end`, which stand in the journal then
    """
    wish, journal, ended = work
    ready()
    for partition in range(wish["partitions"]):
        since, name = time.monotonic_ns(), name_of(wish["topic"], partition)
        begin, end = insist(work, errors, lambda: ends(partition))
        journal.moved("assign", [[name, begin]])
        start(partition, begin)
        chain, place = Chain(), begin
        while place < end and not ended.is_set():
            for found in poll(partition, end):
                chain.add(*found)
                place = found[0] + 1
        if place >= end:
            journal.whole(since, name, begin, end, chain)


def insist(work, errors, ask):
    _, journal, ended = work
    while not ended.is_set():
        try:
            return ask()
        except errors as error:
            journal.note(error)
            ended.wait(0.2)
    sys.exit("told to end before it had begun")


if __name__ == "__main__":
    chain = Chain()
    for place in enumerate([7, 8, 9]):
        chain.add(*place)
    print(f"{chain.hash:016x}")
