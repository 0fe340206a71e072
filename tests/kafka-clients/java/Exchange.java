// Kafka's own client: lines as in python/exchange.py. java -cp 'classes:jars/*' Exchange VERB BOOTSTRAP

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Exchange {
    static final Duration PATIENCE = Duration.ofSeconds(60);
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] words) throws Exception {
        switch (words[0]) {
            case "produce" -> produce(words[1]);
            case "consume" -> consume(words[1]);
            case "offsets" -> offsets(words[1]);
            case "group" -> Member.run(words[1]);
            case "admin" -> Asks.run(words[1]);
            default -> throw new IllegalArgumentException(words[0]);
        }
    }

    static List<JsonNode> lines() throws Exception {
        List<JsonNode> lines = new ArrayList<>();
        for (String line : (Iterable<String>) new BufferedReader(new InputStreamReader(System.in)).lines()::iterator) {
            lines.add(JSON.readTree(line));
        }
        return lines;
    }

    static byte[] octets(JsonNode text) {
        return text.isNull() ? null : HexFormat.of().parseHex(text.asText());
    }

    static String text(byte[] octets) {
        return octets == null ? null : HexFormat.of().formatHex(octets);
    }

    static void produce(String bootstrap) throws Exception {
        Map<String, KafkaProducer<byte[], byte[]>> producers = new LinkedHashMap<>();
        List<Future<RecordMetadata>> pending = new ArrayList<>();
        for (JsonNode line : lines()) {
            String codec = line.get("codec").asText(), acks = line.get("acks").asText();
            var producer = producers.computeIfAbsent(codec + acks, kind -> {
                Properties settings = new Properties();
                settings.put("bootstrap.servers", bootstrap);
                settings.put("compression.type", codec);
                settings.put("acks", acks);
                settings.put("linger.ms", "20");
                return new KafkaProducer<>(settings, new ByteArraySerializer(), new ByteArraySerializer());
            });
            var record = new ProducerRecord<byte[], byte[]>(line.get("topic").asText(), line.get("partition").asInt(),
                line.get("timestamp").asLong(), octets(line.get("key")), octets(line.get("value")));
            for (JsonNode header : line.get("headers")) {
                record.headers().add(header.get(0).asText(), octets(header.get(1)));
            }
            pending.add(producer.send(record));
        }
        producers.values().forEach(KafkaProducer::flush);
        for (var sent : pending) {
            RecordMetadata place = sent.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
            System.out.println(JSON.createObjectNode().put("partition", place.partition()).put("offset", place.offset()));
        }
        producers.values().forEach(KafkaProducer::close);
    }

    static KafkaConsumer<byte[], byte[]> reader(String bootstrap) {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", bootstrap);
        settings.put("auto.offset.reset", "none");
        return new KafkaConsumer<>(settings, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static void consume(String bootstrap) throws Exception {
        try (var consumer = reader(bootstrap)) {
            for (JsonNode line : lines()) {
                var partition = new TopicPartition(line.get("topic").asText(), line.get("partition").asInt());
                consumer.assign(List.of(partition));
                consumer.seek(partition, line.get("from").asLong());
                long left = line.get("count").asLong();
                while (left > 0) {
                    var records = consumer.poll(PATIENCE);
                    if (records.isEmpty()) {
                        throw new IllegalStateException(line + ": " + left + " records are missing");
                    }
                    for (ConsumerRecord<byte[], byte[]> record : records) {
                        if (left-- > 0) {
                            say(record);
                        }
                    }
                }
            }
        }
    }

    static void say(ConsumerRecord<byte[], byte[]> record) {
        if (record.timestampType() != TimestampType.CREATE_TIME) {
            throw new IllegalStateException("timestamp of kind " + record.timestampType());
        }
        ObjectNode said = JSON.createObjectNode().put("offset", record.offset()).put("timestamp", record.timestamp());
        said.put("key", text(record.key())).put("value", text(record.value()));
        ArrayNode headers = said.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(text(header.value()));
        }
        System.out.println(said);
    }

    static void offsets(String bootstrap) throws Exception {
        try (var consumer = reader(bootstrap)) {
            for (JsonNode line : lines()) {
                var partition = new TopicPartition(line.get("topic").asText(), line.get("partition").asInt());
                JsonNode at = line.get("at");
                long offset;
                if (at.isNumber()) {
                    var found = consumer.offsetsForTimes(Map.of(partition, at.asLong()), PATIENCE).get(partition);
                    offset = found == null ? -1 : found.offset();
                } else {
                    var ends = at.asText().equals("earliest")
                        ? consumer.beginningOffsets(List.of(partition), PATIENCE)
                        : consumer.endOffsets(List.of(partition), PATIENCE);
                    offset = ends.get(partition);
                }
                System.out.println(JSON.createObjectNode().put("offset", offset));
            }
        }
    }
}
