// kafkajs: lines as in python/exchange.py. It compresses with gzip only, and it cannot read a partition without a group, so
// it has no verb `consume`.

const { CompressionTypes, Kafka, logLevel } = require("kafkajs");

const [verb, bootstrap] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.ERROR });
const octets = (text) => (text === null ? null : Buffer.from(text, "hex"));
const lines = () =>
  require("fs").readFileSync(0, "utf8").split("\n").filter((line) => line).map((line) => JSON.parse(line));
const say = (answer) => console.log(JSON.stringify(answer));

// Names may repeat: then kafkajs wants a list of values.
function headersOf(line) {
  const headers = {};
  for (const [name, value] of line.headers) (headers[name] ??= []).push(octets(value));
  return headers;
}

async function produce() {
  // Its idempotence is experimental: one request at a time then.
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (const line of lines()) {
    const message = {
      key: octets(line.key),
      value: octets(line.value),
      headers: headersOf(line),
      partition: line.partition,
      timestamp: String(line.timestamp),
    };
    const compression = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }[line.codec];
    const [place] = await producer.send({ topic: line.topic, acks: -1, compression, messages: [message] });
    say({ partition: place.partition, offset: Number(place.baseOffset) });
  }
  await producer.disconnect();
}

async function offsets() {
  const admin = kafka.admin();
  await admin.connect();
  for (const line of lines()) {
    const timed = typeof line.at === "number";
    const found = timed
      ? await admin.fetchTopicOffsetsByTimestamp(line.topic, line.at)
      : await admin.fetchTopicOffsets(line.topic);
    const { offset, low, high } = found.find((one) => one.partition === line.partition);
    say({ offset: Number(timed ? offset : { earliest: low, latest: high }[line.at]) });
  }
  await admin.disconnect();
}

({ produce, offsets })[verb]().catch((error) => {
  console.error(error);
  process.exit(1);
});
