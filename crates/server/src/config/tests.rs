//! Which layer wins, and what is refused.

use std::collections::BTreeMap;

use super::*;

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn nothing_given_is_the_default() {
    let config = ServerConfig::read(&Layers::default()).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("./millrace-data"));
    assert_eq!((config.grpc, config.http), (Listen::Loopback(7070), Listen::Loopback(7080)));
    assert_eq!(config.memory_budget_bytes, 512 * 1024 * 1024);
    assert_eq!((config.node, config.drain_timeout), (NodeId(1), Duration::from_secs(30)));
    assert!(config.in_force.iter().all(|key| key.origin == Origin::Default));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let layers = Layers::default()
        .file("node_id = 2\nmemory_budget = \"1GiB\"\ndata_dir = \"/f\"\ninsecure_listen = false")
        .unwrap()
        .environment(&environment(&[
            ("MILLRACE_NODE_ID", "3"),
            ("MILLRACE_DATA_DIR", "/e"),
            ("MILLRACE_SERVER", "elsewhere:7070"),
            ("HOME", "/root"),
        ]))
        .unwrap()
        .flag(Key::DataDir, "/g")
        .unwrap();
    let config = ServerConfig::read(&layers).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/g"));
    assert_eq!((config.node, config.memory_budget_bytes), (NodeId(3), 1 << 30));
    let origin = |key| config.in_force.iter().find(|entry| entry.key == key).map(|entry| entry.origin);
    assert_eq!(origin(Key::DataDir), Some(Origin::Flag));
    assert_eq!(origin(Key::NodeId), Some(Origin::Environment));
    assert_eq!(origin(Key::MemoryBudget), Some(Origin::File));
    assert_eq!(origin(Key::LogLevel), Some(Origin::Default));
}

#[test]
fn unknown_keys_are_refused_wherever_they_stand() {
    for file in ["grcp = \"a\"", "[cluster]\nname = \"x\"", "[other]", "[data_dir]\nx = 1", "data_dir"] {
        assert!(Layers::default().file(file).is_err(), "{file:?}");
    }
    let refused = Layers::default().environment(&environment(&[("MILLRACE_DATADIR", "/x")])).unwrap_err();
    assert_eq!(
        refused,
        ConfigError::Unknown { key: "MILLRACE_DATADIR".to_owned(), origin: Origin::Environment }
    );
}

#[test]
fn what_is_not_there_yet_says_so() {
    let by_file = Layers::default().file("amqp = \"127.0.0.1:5672\"").unwrap_err();
    assert_eq!(by_file, ConfigError::NotThereYet { key: Key::Amqp, origin: Origin::File });
    let refused = Layers::default().flag(Key::Amqp, "127.0.0.1:1").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unsupported);
    assert!(refused.to_string().starts_with("UNSUPPORTED: --"), "{refused}");
}

#[test]
fn a_broker_with_an_internal_door_is_one_of_several() {
    let endpoint = |host: &str, port| Endpoint { host: host.to_owned(), port };
    assert_eq!(ServerConfig::read(&Layers::default()).unwrap().cluster, None);
    let file =
        "internal = \"localhost:0\"\njoin = \"a.example:7071, [::1]:7072,\"\ninternal_advertised = \"b:1\"";
    let config = ServerConfig::read(&Layers::default().file(file).unwrap()).unwrap();
    let expected = ClusterConfig {
        internal: Listen::Loopback(0),
        advertised: Some(endpoint("b", 1)),
        join: vec![endpoint("a.example", 7071), endpoint("::1", 7072)],
    };
    assert_eq!(config.cluster, Some(expected));
}

#[test]
fn what_makes_no_cluster_is_refused() {
    let many = vec!["a:1"; BROKERS_MAX + 1].join(",");
    let cases: [(&[(Key, &str)], &str); 6] = [
        (&[(Key::Join, "a:1")], "--join = \"a:1\": only a broker with an internal door has others"),
        (&[(Key::InternalAdvertised, "a:1")], "only a broker with an internal door"),
        (&[(Key::Internal, "localhost:0"), (Key::Join, "a")], "an endpoint is written"),
        (&[(Key::Internal, "localhost:0"), (Key::Join, &many)], "129 addresses, 128 at most"),
        (&[(Key::Internal, "0.0.0.0:7071")], "is not loopback"),
        (
            &[(Key::Internal, "0.0.0.0:7071"), (Key::InsecureListen, "true")],
            "nobody can dial that; internal_advertised says what others dial",
        ),
    ];
    for (flags, reason) in cases {
        let layers =
            flags.iter().fold(Layers::default(), |layers, (key, value)| layers.flag(*key, *value).unwrap());
        let refused = ServerConfig::read(&layers).unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}

#[test]
fn beyond_loopback_takes_a_word() {
    let open = Layers::default().flag(Key::Grpc, "0.0.0.0:7070").unwrap();
    let refused = ServerConfig::read(&open).unwrap_err();
    assert!(matches!(&refused, ConfigError::Value { key: Key::Grpc, .. }), "{refused}");
    let trusted = open.flag(Key::InsecureListen, "true").unwrap();
    assert!(ServerConfig::read(&trusted).is_ok());
}

#[test]
fn values_that_cannot_be_are_refused() {
    let cases = [
        (Key::DataDir, ""),
        (Key::NodeId, "0"),
        (Key::NodeId, "x"),
        (Key::MemoryBudget, "1MiB"),
        (Key::MemoryBudget, "much"),
        (Key::DrainTimeout, "30"),
        (Key::InsecureListen, "maybe"),
        (Key::LogFormat, "xml"),
        (Key::Grpc, "7070"),
        (Key::Http, ""),
        (Key::Kafka, "9092"),
        (Key::KafkaAdvertised, "example.org"),
        (Key::KafkaAdvertised, "example.org:0"),
        (Key::AutoCreateTopics, "yes"),
        (Key::NumPartitions, "0"),
        (Key::NumPartitions, "10001"),
        (Key::OffsetsRetentionMinutes, "0"),
        (Key::OffsetsRetentionMinutes, "7d"),
        (Key::GroupSessionTimeoutMs, "999"),
        (Key::GroupInitialDelayMs, "-1"),
        (Key::GroupInitialDelayMs, "300001"),
    ];
    for (key, value) in cases {
        let layers = Layers::default().flag(key, value).unwrap();
        let refused = ServerConfig::read(&layers).unwrap_err();
        assert!(matches!(refused, ConfigError::Value { .. }), "{key} = {value:?}");
    }
}

#[test]
fn kafkas_broker_settings_are_written_as_kafka_writes_them() {
    let file = "kafka_advertised = \"[2001:db8::1]:19092\"\nnum.partitions = 4\n[auto.create.topics]\nenable = false";
    let config = ServerConfig::read(&Layers::default().file(file).unwrap()).unwrap();
    assert_eq!(config.kafka_advertised, Some(Endpoint { host: "2001:db8::1".to_owned(), port: 19_092 }));
    assert_eq!(config.new_topics, NewTopics { auto_create: false, partitions: 4 });
    let file = "[offsets.retention]\nminutes = 60\n[group.consumer.session.timeout]\nms = 6000\n[group.initial.rebalance.delay]\nms = 0";
    let groups = ServerConfig::read(&Layers::default().file(file).unwrap()).unwrap().groups;
    assert_eq!(groups.offsets_retention, Duration::from_secs(3600));
    assert_eq!((groups.session_timeout_ms, groups.heartbeat_interval_ms), (6000, 2000));
    assert_eq!(groups.classic_initial_delay_ms, 0);
    let groups = ServerConfig::read(&Layers::default()).unwrap().groups;
    assert_eq!(groups, millrace_broker::GroupSettings::default(), "the defaults are those of the broker");
    assert_eq!(Key::AutoCreateTopics.variable(), "MILLRACE_AUTO_CREATE_TOPICS_ENABLE");
}

#[test]
fn every_variable_leads_back_to_its_key() {
    for key in Key::ALL {
        assert_eq!(Key::of_variable(&key.variable()), Some(*key));
        assert_eq!(Key::of_name(key.name()), Some(*key));
    }
    assert_eq!(Key::InternalAdvertised.variable(), "MILLRACE_INTERNAL_ADVERTISED");
}

#[test]
fn an_error_names_what_was_written() {
    let written = |origin| Key::DataDir.as_written_in(origin);
    assert_eq!(written(Origin::Flag), "--data-dir");
    assert_eq!(written(Origin::Environment), "MILLRACE_DATA_DIR");
    assert_eq!(written(Origin::File), "data_dir");
}
