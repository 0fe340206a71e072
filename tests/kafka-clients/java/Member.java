// Kafka's own client as a member of a group: lines as in python/exchange.py.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Properties;
import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

class Member {
    static void run(String bootstrap) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        JsonNode line = Exchange.JSON.readTree(input.readLine());
        var ended = new AtomicBoolean();
        var waits = new Thread(() -> {
            try {
                while (input.readLine() != null) {
                    // Nothing is said to a member but its first line.
                }
            } catch (java.io.IOException error) {
                System.err.println(error);
            }
            ended.set(true);
        });
        waits.setDaemon(true);
        waits.start();
        try (var consumer = new KafkaConsumer<byte[], byte[]>(settings(bootstrap, line), new ByteArrayDeserializer(),
            new ByteArrayDeserializer())) {
            consumer.subscribe(List.of(line.get("topic").asText()), new Told());
            while (!ended.get()) {
                var records = consumer.poll(Duration.ofMillis(200));
                for (var record : records) {
                    ObjectNode said = Exchange.JSON.createObjectNode();
                    said.put("partition", record.partition()).put("offset", record.offset());
                    System.out.println(said.put("value", Exchange.text(record.value())));
                }
                if (!records.isEmpty()) {
                    commit(consumer);
                }
            }
        }
    }

    static Properties settings(String bootstrap, JsonNode line) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("group.id", line.get("group").asText());
        settings.put("group.protocol", line.get("protocol").asText());
        settings.put("auto.offset.reset", "earliest");
        settings.put("enable.auto.commit", "false");
        if (line.get("protocol").asText().equals("classic")) {
            settings.put("heartbeat.interval.ms", "300");
            settings.put("session.timeout.ms", "20000");
        }
        if (line.hasNonNull("assignor")) {
            settings.put("partition.assignment.strategy", line.get("assignor").asText());
        }
        return settings;
    }

    static void commit(KafkaConsumer<byte[], byte[]> consumer) {
        try {
            consumer.commitSync(Exchange.PATIENCE);
        } catch (KafkaException error) {
            // The group moves on, or the broker is away: what was not committed comes again.
            System.err.println(error);
        }
    }

    /** Says what the member holds. */
    static class Told implements ConsumerRebalanceListener {
        final TreeSet<Integer> held = new TreeSet<>();

        @Override
        public void onPartitionsAssigned(Collection<TopicPartition> assigned) {
            assigned.forEach(partition -> held.add(partition.partition()));
            say();
        }

        @Override
        public void onPartitionsRevoked(Collection<TopicPartition> revoked) {
            revoked.forEach(partition -> held.remove(partition.partition()));
            say();
        }

        void say() {
            ObjectNode said = Exchange.JSON.createObjectNode();
            ArrayNode assigned = said.putArray("assigned");
            held.forEach(assigned::add);
            System.out.println(said);
        }
    }
}
