// kafkajs: lines as in python/exchange.py. It compresses with gzip only, and it cannot read a partition without a group, so
// it has no verb `consume`.

const { CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = require("kafkajs");

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

async function producerFor(acks) {
  // Its idempotence is experimental: one request at a time then.
  const idempotence = acks === "all" ? { idempotent: true, maxInFlightRequests: 1 } : {};
  const producer = kafka.producer(idempotence);
  await producer.connect();
  return producer;
}

async function produce() {
  const producers = {};
  for (const line of lines()) {
    const producer = (producers[line.acks] ??= await producerFor(line.acks));
    const acks = line.acks === "all" ? -1 : Number(line.acks);
    const message = {
      key: octets(line.key),
      value: octets(line.value),
      headers: headersOf(line),
      partition: line.partition,
      timestamp: String(line.timestamp),
    };
    const compression = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP }[line.codec];
    // Nothing, if no answer was asked for.
    const [place] = (await producer.send({ topic: line.topic, acks, compression, messages: [message] })) ?? [];
    say(place ? { partition: place.partition, offset: Number(place.baseOffset) } : { partition: -1, offset: -1 });
  }
  for (const producer of Object.values(producers)) await producer.disconnect();
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

// The lines that come while the program runs.
const coming = () => require("readline").createInterface({ input: process.stdin });

async function group() {
  const heard = coming();
  const line = JSON.parse(await new Promise((resolve) => heard.once("line", resolve)));
  const ended = new Promise((resolve) => heard.once("close", resolve));
  const retry = { initialRetryTime: 100, maxRetryTime: 1000, retries: 60 };
  const settings = { groupId: line.group, heartbeatInterval: 300, sessionTimeout: 20000, maxWaitTimeInMs: 500, retry };
  const consumer = kafka.consumer(settings);
  const { GROUP_JOIN, REBALANCING } = consumer.events;
  consumer.on(GROUP_JOIN, ({ payload }) => say({ assigned: payload.memberAssignment[line.topic] ?? [] }));
  consumer.on(REBALANCING, () => say({ assigned: [] }));
  await consumer.connect();
  await consumer.subscribe({ topics: [line.topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch, heartbeat }) => {
      for (const { offset, value } of batch.messages) {
        say({ partition: batch.partition, offset: Number(offset), value: value && value.toString("hex") });
      }
      await heartbeat();
      const next = (BigInt(batch.lastOffset()) + 1n).toString();
      await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: next }]);
    },
  });
  await ended;
  // After the broker was away once it has left the group by then, but does not always come back.
  await Promise.race([consumer.disconnect(), new Promise((resolve) => setTimeout(resolve, 5000))]);
  process.exit(0);
}

async function admin() {
  const client = kafka.admin();
  await client.connect();
  const resource = (line) => ({ type: ConfigResourceTypes.TOPIC, name: line.topic });
  const entries = (configs) => Object.entries(configs).map(([name, value]) => ({ name, value }));
  const answers = {
    create: async (line) => {
      const topic = { topic: line.topic, numPartitions: line.partitions, configEntries: entries(line.configs) };
      if (!(await client.createTopics({ topics: [topic] }))) throw new Error("it exists");
    },
    topics: async () => ({ topics: await client.listTopics() }),
    describe: async (line) => {
      const { topics } = await client.fetchTopicMetadata({ topics: [line.topic] });
      return { partitions: topics[0].partitions.length };
    },
    grow: (line) => client.createPartitions({ topicPartitions: [{ topic: line.topic, count: line.partitions }] }),
    configs: async (line) => {
      const { resources } = await client.describeConfigs({ resources: [resource(line)], includeSynonyms: false });
      const found = resources[0].configEntries.map(({ configName, configValue }) => [configName, configValue]);
      return { configs: Object.fromEntries(found) };
    },
    alter: (line) =>
      client.alterConfigs({ resources: [{ ...resource(line), configEntries: entries(line.configs) }] }),
    trim: async (line) => {
      const partitions = [{ partition: line.partition, offset: String(line.before) }];
      await client.deleteTopicRecords({ topic: line.topic, partitions });
      const found = await client.fetchTopicOffsets(line.topic);
      return { low: Number(found.find((one) => one.partition === line.partition).low) };
    },
    groups: async () => ({ groups: (await client.listGroups()).groups.map((one) => one.groupId) }),
    group: async (line) => {
      const { groups } = await client.describeGroups([line.group]);
      return { state: groups[0].state, members: groups[0].members.length };
    },
    offsets: async (line) => {
      const found = await client.fetchOffsets({ groupId: line.group });
      const flat = found.flatMap(({ topic, partitions }) =>
        partitions.map(({ partition, offset }) => [topic, partition, Number(offset)]));
      return { offsets: flat };
    },
    move: (line) =>
      client.setOffsets({
        groupId: line.group,
        topic: line.topic,
        partitions: [{ partition: line.partition, offset: String(line.offset) }],
      }),
    forget: (line) => client.deleteGroups([line.group]),
    delete: (line) => client.deleteTopics({ topics: [line.topic] }),
    cluster: async () => ({ brokers: (await client.describeCluster()).brokers.length }),
  };
  for await (const text of coming()) {
    const line = JSON.parse(text);
    try {
      const answer = await answers[line.do](line);
      // Some say `true`, or what the protocol said.
      say(["topics", "describe", "configs", "trim", "groups", "group", "offsets", "cluster"].includes(line.do) ? answer : {});
    } catch (error) {
      say({ error: `${error.name}: ${error.message}` });
    }
  }
  await client.disconnect();
}

({ produce, offsets, group, admin })[verb]().catch((error) => {
  console.error(error);
  process.exit(1);
});
