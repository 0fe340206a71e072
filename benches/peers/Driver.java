// The client of both brokers: one warm process that runs Kafka's own ProducerPerformance, reads with `assign`, makes
// topics, and waits for the first acknowledgement of a broker that has only just been started.
//
// A command is a line on standard input; its answer is a line that begins with `=` or, when it failed, with `!`. What
// ProducerPerformance prints comes before it.

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.time.Duration;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.tools.ProducerPerformance;

public final class Driver {
    private static final long PATIENCE_S = 120;

    private final PrintStream out;

    private Driver(PrintStream out) {
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        Driver driver = new Driver(System.out);
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        System.out.println("= ready");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            try {
                System.out.println("= " + driver.run(line.trim().split(" ")));
            } catch (Throwable error) {
                System.out.println("! " + String.valueOf(error).replace('\n', ' '));
            }
            System.out.flush();
        }
    }

    private String run(String[] words) throws Exception {
        String[] rest = Arrays.copyOfRange(words, 1, words.length);
        switch (words[0]) {
            case "topic":
                return topic(rest);
            case "drop":
                return drop(rest);
            case "produce":
                return produce(rest);
            case "read":
                return read(rest[0], rest[1], Long.parseLong(rest[2]));
            case "group-read":
                return Members.read(rest);
            case "group-commit":
                return Members.commit(rest);
            case "group-share":
                return Members.share(rest);
            case "set":
                return set(rest);
            case "first":
                return first(rest[0], rest[1]);
            case "collect":
                System.gc();
                return "collected";
            default:
                throw new IllegalArgumentException("no command " + words[0]);
        }
    }

    /** BOOTSTRAP NAME PARTITIONS [KEY=VALUE]... */
    private static String topic(String[] words) throws Exception {
        Map<String, String> configs = new HashMap<>();
        for (String word : Arrays.asList(words).subList(3, words.length)) {
            int at = word.indexOf('=');
            configs.put(word.substring(0, at), word.substring(at + 1));
        }
        try (Admin admin = admin(words[0])) {
            NewTopic topic = new NewTopic(words[1], Integer.parseInt(words[2]), (short) 1).configs(configs);
            admin.createTopics(List.of(topic)).all().get(PATIENCE_S, TimeUnit.SECONDS);
        }
        return "made";
    }

    /** BOOTSTRAP NAME KEY VALUE */
    private static String set(String[] words) throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, words[1]);
        AlterConfigOp set = new AlterConfigOp(new ConfigEntry(words[2], words[3]), AlterConfigOp.OpType.SET);
        try (Admin admin = admin(words[0])) {
            admin.incrementalAlterConfigs(Map.of(topic, List.of(set))).all().get(PATIENCE_S, TimeUnit.SECONDS);
        }
        return "set";
    }

    /** BOOTSTRAP NAME */
    private static String drop(String[] words) throws Exception {
        try (Admin admin = admin(words[0])) {
            admin.deleteTopics(List.of(words[1])).all().get(PATIENCE_S, TimeUnit.SECONDS);
        }
        return "gone";
    }

    /** Whatever ProducerPerformance takes. */
    private String produce(String[] words) throws Exception {
        Stamp.begin();
        ProducerPerformance.main(words);
        return Stamp.told();
    }

    /** Every record of partition 0, from the beginning. */
    private static String read(String bootstrap, String topic, long records) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties)) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            long start = System.nanoTime();
            long bytes = 0;
            long seen = 0;
            long last = start;
            while (seen < records) {
                ConsumerRecords<byte[], byte[]> polled = consumer.poll(Duration.ofMillis(100));
                for (ConsumerRecord<byte[], byte[]> record : polled) {
                    if (record.offset() != seen) {
                        throw new IllegalStateException("offset " + record.offset() + " instead of " + seen);
                    }
                    seen++;
                    bytes += record.value().length;
                }
                long now = System.nanoTime();
                if (!polled.isEmpty()) {
                    last = now;
                } else if (now - last > TimeUnit.SECONDS.toNanos(PATIENCE_S)) {
                    throw new IllegalStateException("nothing comes after record " + seen);
                }
            }
            return "records=" + seen + " bytes=" + bytes + " nanos=" + (System.nanoTime() - start);
        }
    }

    /** From now until the port accepts, and until a record in a new topic is acknowledged. */
    private String first(String bootstrap, String topic) throws Exception {
        long start = System.nanoTime();
        String[] address = bootstrap.split(":");
        InetSocketAddress target = new InetSocketAddress(address[0], Integer.parseInt(address[1]));
        out.println("waiting");
        out.flush();
        while (true) {
            try (Socket probe = new Socket()) {
                probe.connect(target, 1000);
                break;
            } catch (java.io.IOException refused) {
                if (System.nanoTime() - start > TimeUnit.SECONDS.toNanos(PATIENCE_S)) {
                    throw refused;
                }
                Thread.sleep(1);
            }
        }
        long accepted = System.nanoTime() - start;
        topic(new String[] {bootstrap, topic, "1"});
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("acks", "all");
        properties.put("linger.ms", "0");
        properties.put("retry.backoff.ms", "5");
        properties.put("retry.backoff.max.ms", "5");
        properties.put("key.serializer", ByteArraySerializer.class.getName());
        properties.put("value.serializer", ByteArraySerializer.class.getName());
        try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties)) {
            producer.send(new ProducerRecord<>(topic, 0, null, new byte[100])).get(PATIENCE_S, TimeUnit.SECONDS);
        }
        return "accepted_nanos=" + accepted + " acked_nanos=" + (System.nanoTime() - start);
    }

    private static Admin admin(String bootstrap) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        // A broker that is just starting is asked again at once.
        properties.put("reconnect.backoff.ms", "5");
        properties.put("reconnect.backoff.max.ms", "5");
        properties.put("retry.backoff.ms", "5");
        properties.put("retry.backoff.max.ms", "5");
        return Admin.create(properties);
    }

    /**
     * Takes the time of each record from its `send` to its acknowledgement, in nanoseconds: the tool counts whole
     * milliseconds. One producer and one partition, so acknowledgements come in the order of the sends.
     */
    public static final class Stamp implements ProducerInterceptor<byte[], byte[]> {
        private static final int ROOM = 1 << 21;
        private static long[] times = new long[0];
        private static int sent;
        private static int acked;

        static void begin() {
            sent = 0;
            acked = 0;
        }

        /** The first tenth does not count: a new producer looks for its partition there. */
        static String told() {
            if (acked == 0 || acked != sent) {
                return "stamped=" + acked;
            }
            long[] counted = Arrays.copyOfRange(times, acked / 10, acked);
            Arrays.sort(counted);
            return "stamped=" + acked + " p50_nanos=" + at(counted, 0.5) + " p99_nanos=" + at(counted, 0.99)
                + " p999_nanos=" + at(counted, 0.999) + " max_nanos=" + counted[counted.length - 1];
        }

        private static long at(long[] sorted, double share) {
            return sorted[Math.min(sorted.length - 1, (int) (sorted.length * share))];
        }

        @Override
        public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> record) {
            if (times.length == 0) {
                times = new long[ROOM];
            }
            if (sent < ROOM) {
                times[sent++] = System.nanoTime();
            }
            return record;
        }

        @Override
        public void onAcknowledgement(RecordMetadata metadata, Exception error) {
            if (acked < ROOM) {
                times[acked] = System.nanoTime() - times[acked];
                acked++;
            }
        }

        @Override
        public void configure(Map<String, ?> configs) {
        }

        @Override
        public void close() {
        }
    }
}
