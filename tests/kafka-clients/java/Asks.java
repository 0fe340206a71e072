// Kafka's own client for administration: lines as in python/exchange.py.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

class Asks {
    static void run(String bootstrap) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", bootstrap))) {
            for (String text = input.readLine(); text != null; text = input.readLine()) {
                ObjectNode said = Exchange.JSON.createObjectNode();
                try {
                    answer(admin, Exchange.JSON.readTree(text), said);
                } catch (ExecutionException error) {
                    said.put("error", error.getCause().toString());
                }
                System.out.println(said);
            }
        }
    }

    static void answer(Admin admin, JsonNode line, ObjectNode said) throws Exception {
        String topic = line.path("topic").asText(), group = line.path("group").asText();
        var partition = new TopicPartition(topic, line.path("partition").asInt());
        int partitions = line.path("partitions").asInt();
        var ofTopic = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        switch (line.get("do").asText()) {
            case "create" -> admin.createTopics(List.of(
                new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs(line)))).all().get();
            case "topics" -> admin.listTopics().names().get().forEach(said.putArray("topics")::add);
            case "describe" -> said.put("partitions",
                admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions().size());
            case "grow" -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(partitions))).all().get();
            case "configs" -> {
                ObjectNode found = said.putObject("configs");
                for (ConfigEntry entry : admin.describeConfigs(List.of(ofTopic)).all().get().get(ofTopic).entries()) {
                    found.put(entry.name(), entry.value());
                }
            }
            case "alter" -> {
                Collection<AlterConfigOp> changes = new ArrayList<>();
                configs(line).forEach((name, value) ->
                    changes.add(new AlterConfigOp(new ConfigEntry(name, value), AlterConfigOp.OpType.SET)));
                admin.incrementalAlterConfigs(Map.of(ofTopic, changes)).all().get();
            }
            case "trim" -> {
                var before = RecordsToDelete.beforeOffset(line.get("before").asLong());
                var trimmed = admin.deleteRecords(Map.of(partition, before)).lowWatermarks().get(partition).get();
                said.put("low", trimmed.lowWatermark());
            }
            case "groups" -> {
                var names = said.putArray("groups");
                admin.listGroups().all().get().forEach(found -> names.add(found.groupId()));
            }
            case "group" -> {
                var found = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
                said.put("state", found.groupState().toString()).put("members", found.members().size());
            }
            case "offsets" -> {
                var offsets = said.putArray("offsets");
                admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().forEach((at, place) ->
                    offsets.addArray().add(at.topic()).add(at.partition()).add(place.offset()));
            }
            case "move" -> admin.alterConsumerGroupOffsets(group,
                Map.of(partition, new OffsetAndMetadata(line.get("offset").asLong()))).all().get();
            case "forget" -> admin.deleteConsumerGroups(List.of(group)).all().get();
            case "delete" -> admin.deleteTopics(List.of(topic)).all().get();
            case "cluster" -> said.put("brokers", admin.describeCluster().nodes().get().size());
            default -> throw new IllegalArgumentException(line.toString());
        }
    }

    static Map<String, String> configs(JsonNode line) {
        Map<String, String> configs = new HashMap<>();
        line.get("configs").fields().forEachRemaining(one -> configs.put(one.getKey(), one.getValue().asText()));
        return configs;
    }
}
