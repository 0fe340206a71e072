// Members of a group, with everything of the consumer as it comes: what one reads, how long a commit takes, how long two
// need to share, and to come back together.

import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

final class Members {
    private static final long PATIENCE_NANOS = TimeUnit.SECONDS.toNanos(120);
    private static final Duration POLL = Duration.ofMillis(100);

    private Members() {
    }

    /** BOOTSTRAP TOPIC GROUP PROTOCOL RECORDS: one member reads all partitions, and commits as it comes and at the end. */
    static String read(String[] words) {
        long records = Long.parseLong(words[4]);
        long start = System.nanoTime();
        try (KafkaConsumer<byte[], byte[]> member = consumer(words[0], words[2], words[3])) {
            member.subscribe(List.of(words[1]));
            long seen = 0;
            long bytes = 0;
            long first = 0;
            while (seen < records) {
                ConsumerRecords<byte[], byte[]> polled = member.poll(POLL);
                long now = System.nanoTime();
                if (first == 0 && !polled.isEmpty()) {
                    first = now;
                }
                if (now - start > PATIENCE_NANOS) {
                    throw new IllegalStateException("nothing comes after record " + seen);
                }
                for (ConsumerRecord<byte[], byte[]> record : polled) {
                    seen++;
                    bytes += record.value().length;
                }
            }
            member.commitSync();
            long end = System.nanoTime();
            return "records=" + seen + " bytes=" + bytes + " first_nanos=" + (first - start) + " nanos=" + (end - first);
        }
    }

    /** BOOTSTRAP TOPIC GROUP PROTOCOL COMMITS: one member commits one position after the other, each waited for. */
    static String commit(String[] words) {
        int commits = Integer.parseInt(words[4]);
        try (KafkaConsumer<byte[], byte[]> member = consumer(words[0], words[2], words[3])) {
            member.subscribe(List.of(words[1]));
            long begun = System.nanoTime();
            while (member.assignment().isEmpty()) {
                member.poll(POLL);
                within(begun);
            }
            TopicPartition partition = member.assignment().iterator().next();
            long[] took = new long[commits];
            long start = System.nanoTime();
            long before = start;
            for (int at = 0; at < commits; at++) {
                member.commitSync(Map.of(partition, new OffsetAndMetadata(at)));
                long now = System.nanoTime();
                took[at] = now - before;
                before = now;
            }
            Arrays.sort(took);
            return "nanos=" + (before - start) + " p50_nanos=" + took[commits / 2] + " p99_nanos="
                + took[(int) (commits * 0.99)];
        }
    }

    /** BOOTSTRAP TOPIC GROUP PROTOCOL PARTITIONS: a second member comes, then it leaves; until each has all it is to have. */
    static String share(String[] words) throws Exception {
        int partitions = Integer.parseInt(words[4]);
        try (Living first = new Living(words)) {
            until(() -> first.holds() == partitions);
            long before = System.nanoTime();
            long shared;
            try (Living second = new Living(words)) {
                until(() -> first.holds() == partitions / 2 && second.holds() == partitions - partitions / 2);
                shared = System.nanoTime();
            }
            until(() -> first.holds() == partitions);
            return "shared_nanos=" + (shared - before) + " together_nanos=" + (System.nanoTime() - shared);
        }
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void until(Condition condition) throws Exception {
        long begun = System.nanoTime();
        while (!condition.holds()) {
            within(begun);
            Thread.sleep(1);
        }
    }

    private static void within(long begun) {
        if (System.nanoTime() - begun > PATIENCE_NANOS) {
            throw new IllegalStateException("the group does not come to rest");
        }
    }

    private static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String group, String protocol) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("group.id", group);
        properties.put("group.protocol", protocol);
        properties.put("auto.offset.reset", "earliest");
        properties.put("key.deserializer", ByteArrayDeserializer.class.getName());
        properties.put("value.deserializer", ByteArrayDeserializer.class.getName());
        return new KafkaConsumer<>(properties);
    }

    /** A member that polls on a thread of its own until it is closed. */
    private static final class Living implements AutoCloseable, ConsumerRebalanceListener {
        private final AtomicBoolean ended = new AtomicBoolean();
        private final AtomicReference<Exception> failed = new AtomicReference<>();
        private final Thread thread;
        private volatile int held;

        Living(String[] words) {
            thread = new Thread(() -> live(words));
            thread.start();
        }

        int holds() throws Exception {
            Exception error = failed.get();
            if (error != null) {
                throw error;
            }
            return held;
        }

        private void live(String[] words) {
            try (KafkaConsumer<byte[], byte[]> member = consumer(words[0], words[2], words[3])) {
                member.subscribe(List.of(words[1]), this);
                while (!ended.get()) {
                    member.poll(POLL);
                }
            } catch (Exception error) {
                failed.set(error);
            }
        }

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            held += assigned.size();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            held -= revoked.size();
        }

        @Override
        public void close() throws Exception {
            ended.set(true);
            thread.join();
            holds();
        }
    }
}
