//! Configurations: told, changed key by key, and changed as a whole.

use std::collections::BTreeMap;

use millrace_kafka::{BrokerSetting, KafkaError, Settings};
use millrace_kafka_wire::describe_configs_request::DescribeConfigsResource;
use millrace_kafka_wire::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
use millrace_kafka_wire::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, Message,
    alter_configs_request, incremental_alter_configs_request,
};

use crate::world::{Client, World, settings};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(crate) fn of(resource_type: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    DescribeConfigsResource {
        resource_type,
        resource_name: name.to_owned(),
        configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).to_owned()).collect()),
        ..DescribeConfigsResource::default()
    }
}

pub(crate) fn describe(resources: Vec<DescribeConfigsResource>) -> DescribeConfigsRequest {
    DescribeConfigsRequest { resources, include_synonyms: true, ..DescribeConfigsRequest::default() }
}

async fn described(
    client: &mut Client,
    version: i16,
    resource: DescribeConfigsResource,
) -> DescribeConfigsResult {
    client.call(version, &describe(vec![resource])).await.results.remove(0)
}

/// What the topic sets itself.
async fn set(client: &mut Client, topic: &str) -> BTreeMap<String, String> {
    let configs = described(client, 4, of(TOPIC, topic, None)).await.configs;
    let set = configs.into_iter().filter(|config| config.config_source == 1);
    set.map(|config| (config.name, config.value.unwrap())).collect()
}

pub(crate) fn alter(
    kind: i8,
    name: &str,
    changes: &[(&str, i8, Option<&str>)],
) -> IncrementalAlterConfigsRequest {
    use incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = changes.iter().map(|(key, operation, value)| AlterableConfig {
        name: (*key).to_owned(),
        config_operation: *operation,
        value: value.map(str::to_owned),
        ..AlterableConfig::default()
    });
    let resource = AlterConfigsResource {
        resource_type: kind,
        resource_name: name.to_owned(),
        configs: configs.collect(),
        ..AlterConfigsResource::default()
    };
    IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() }
}

pub(crate) fn replace(name: &str, configs: &[(&str, Option<&str>)]) -> AlterConfigsRequest {
    use alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let configs = configs.iter().map(|(key, value)| AlterableConfig {
        name: (*key).to_owned(),
        value: value.map(str::to_owned),
        ..AlterableConfig::default()
    });
    let resource = AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: name.to_owned(),
        configs: configs.collect(),
        ..AlterConfigsResource::default()
    };
    AlterConfigsRequest { resources: vec![resource], ..AlterConfigsRequest::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_told_with_its_defaults_and_where_each_value_comes_from() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    for version in DescribeConfigsRequest::VERSIONS {
        let told = described(&mut client, version, of(TOPIC, "t", None)).await;
        assert_eq!((told.error_code, told.resource_type, told.resource_name.as_str()), (0, TOPIC, "t"));
        let find = |key: &str| told.configs.iter().find(|config| config.name == key).unwrap();
        // Topics that are made on the way keep their records for seven days.
        let retention = find("retention.ms");
        assert_eq!((retention.value.as_deref(), retention.config_source), (Some("604800000"), 1));
        let synonyms: Vec<_> = retention
            .synonyms
            .iter()
            .map(|synonym| (synonym.name.as_str(), synonym.value.as_deref(), synonym.source))
            .collect();
        assert_eq!(synonyms, [("retention.ms", Some("604800000"), 1), ("log.retention.ms", Some("-1"), 5)]);
        let policy = find("cleanup.policy");
        assert_eq!((policy.value.as_deref(), policy.config_source), (Some("delete"), 5));
        assert!(!policy.read_only && !policy.is_sensitive);
        assert_eq!(policy.config_type, if version >= 3 { 7 } else { 0 });
        let flush = told.configs.iter().find(|config| config.name == "flush.ms");
        assert!(flush.is_none(), "a key without meaning that nobody has set is not told");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documentation_and_synonyms_are_told_to_who_asks_for_them() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    for (synonyms, documentation) in [(false, false), (true, false), (false, true), (true, true)] {
        for resource in [of(TOPIC, "t", None), of(BROKER, "1", None)] {
            let request = DescribeConfigsRequest {
                include_synonyms: synonyms,
                include_documentation: documentation,
                ..describe(vec![resource])
            };
            let result = client.call(4, &request).await.results.remove(0);
            let config = |key: &str| result.configs.iter().find(|config| config.name == key).cloned();
            let config: DescribeConfigsResourceResult =
                config("retention.ms").or_else(|| config("log.retention.ms")).unwrap();
            assert_eq!(!config.synonyms.is_empty(), synonyms);
            assert_eq!(config.documentation.is_some_and(|text| text.len() > 10), documentation);
        }
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_keys_that_are_asked_for_are_told() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let told = described(&mut client, 1, of(TOPIC, "t", Some(&["retention.ms", "nonsense"]))).await;
    let names: Vec<_> = told.configs.iter().map(|config| config.name.as_str()).collect();
    assert_eq!((told.error_code, names), (0, vec!["retention.ms"]));
    let all = described(&mut client, 1, of(TOPIC, "t", Some(&[]))).await;
    assert!(all.configs.len() > 10);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_tells_what_it_was_started_with() {
    let setting = |name: &str, is_default| BrokerSetting {
        name: name.to_owned(),
        value: "7".to_owned(),
        is_default,
        about: "How many.",
    };
    let configs = vec![setting("num.partitions", false), setting("offsets.retention.minutes", true)];
    let world = World::with(Settings { configs, ..settings() }).await;
    let mut client = world.client().await;
    let told = described(&mut client, 4, of(BROKER, "1", None)).await;
    let find = |key: &str| told.configs.iter().find(|config| config.name == key).unwrap();
    assert_eq!(
        (find("num.partitions").value.as_deref(), find("num.partitions").config_source),
        (Some("7"), 4)
    );
    assert_eq!(find("offsets.retention.minutes").config_source, 5);
    assert_eq!(find("broker.id").value.as_deref(), Some("1"));
    let listener = format!("PLAINTEXT://{}", world.addr);
    assert_eq!(find("advertised.listeners").value, Some(listener));
    assert_eq!(find("log.retention.ms").value.as_deref(), Some("-1"));
    assert!(told.configs.iter().all(|config| config.read_only), "settings are read at the start");
    let everywhere = described(&mut client, 4, of(BROKER, "", None)).await;
    assert_eq!((everywhere.error_code, everywhere.configs.len()), (0, 0));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_configuration_is_refused_beside_what_has_one() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let resources = vec![
        of(TOPIC, "t", None),
        of(TOPIC, "none", None),
        of(TOPIC, "a b", None),
        of(BROKER, "2", None),
        of(BROKER, "one", None),
        of(8, "1", None),
        of(0, "t", None),
        of(-1, "", None),
        of(BROKER, "1", None),
        of(BROKER, "1", None),
    ];
    let results = client.call(4, &describe(resources)).await.results;
    let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [0, 3, 17, 42, 42, 42, 42, 42, 42, 42]);
    assert!(results.iter().skip(1).all(|result| result.error_message.is_some() && result.configs.is_empty()));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_changed_key_by_key() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    for version in IncrementalAlterConfigsRequest::VERSIONS {
        let changes = [
            ("retention.ms", SET, Some("5000")),
            ("cleanup.policy", APPEND, Some("compact")),
            ("flush.ms", SET, Some("1")),
        ];
        let check = IncrementalAlterConfigsRequest { validate_only: true, ..alter(TOPIC, "t", &changes) };
        let before = set(&mut client, "t").await;
        assert_eq!(client.call(version, &check).await.responses[0].error_code, 0);
        assert_eq!(set(&mut client, "t").await, before);
        let done = client.call(version, &alter(TOPIC, "t", &changes)).await.responses.remove(0);
        assert_eq!((done.error_code, done.error_message), (0, None));
        let now = set(&mut client, "t").await;
        assert_eq!((now["retention.ms"].as_str(), now["flush.ms"].as_str()), ("5000", "1"));
        assert_eq!(now["cleanup.policy"], "compact,delete");
        let back = [
            ("retention.ms", DELETE, None),
            ("cleanup.policy", SUBTRACT, Some("compact")),
            ("flush.ms", DELETE, Some("whatever")),
        ];
        assert_eq!(client.call(version, &alter(TOPIC, "t", &back)).await.responses[0].error_code, 0);
        let now = set(&mut client, "t").await;
        assert_eq!((now.get("retention.ms"), now.get("flush.ms")), (None, None));
        assert_eq!(now["cleanup.policy"], "delete");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_configuration_leaves_nothing_of_the_one_before() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    for version in AlterConfigsRequest::VERSIONS {
        for (key, value) in [("retention.ms", "5000"), ("segment.ms", "7000")] {
            let request = replace("t", &[(key, Some(value))]);
            let check = AlterConfigsRequest { validate_only: true, ..request.clone() };
            let before = set(&mut client, "t").await;
            assert_eq!(client.call(version, &check).await.responses[0].error_code, 0);
            assert_eq!(set(&mut client, "t").await, before);
            assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
            let mut now = set(&mut client, "t").await;
            // Written into every topic, so that another default of a later version does not change it.
            now.remove("min.insync.replicas");
            assert_eq!(now, BTreeMap::from([(key.to_owned(), value.to_owned())]));
        }
    }
    for configs in [&[("retention.ms", None)][..], &[("flush.ms", Some("1")), ("flush.ms", Some("2"))]] {
        let refused = client.call(2, &replace("t", configs)).await.responses.remove(0);
        assert_eq!(refused.error_code, KafkaError::InvalidRequest.code());
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_refused_changes_nothing_and_says_which_key() {
    let world = World::new().await;
    let mut client = world.client().await;
    client.topic("t").await;
    let before = set(&mut client, "t").await;
    for (changes, code, named) in [
        (&[("no.such.key", SET, Some("1"))][..], KafkaError::InvalidConfig, "no.such.key"),
        (&[("no.such.key", DELETE, None)], KafkaError::InvalidConfig, "no.such.key"),
        (&[("retention.ms", SET, Some("x"))], KafkaError::InvalidConfig, "retention.ms"),
        (&[("retention.ms", SET, None)], KafkaError::InvalidRequest, "retention.ms"),
        (&[("retention.ms", APPEND, Some("1"))], KafkaError::InvalidConfig, "retention.ms"),
        (&[("retention.ms", 9, Some("1"))], KafkaError::InvalidRequest, "retention.ms"),
        (&[("compression.type", SET, Some("zstd"))], KafkaError::InvalidConfig, "compression.type"),
        (&[("cleanup.policy", SUBTRACT, Some("delete"))], KafkaError::InvalidConfig, "cleanup.policy"),
        (
            &[("flush.ms", SET, Some("1")), ("flush.ms", SET, Some("2"))],
            KafkaError::InvalidRequest,
            "flush.ms",
        ),
        (
            &[("retention.ms", SET, Some("1")), ("segment.ms", SET, Some("0"))],
            KafkaError::InvalidConfig,
            "segment.ms",
        ),
    ] {
        let refused = client.call(1, &alter(TOPIC, "t", changes)).await.responses.remove(0);
        let message = refused.error_message.unwrap();
        assert_eq!(refused.error_code, code.code(), "{changes:?}: {message}");
        assert!(message.contains(named), "{message}");
        assert_eq!(set(&mut client, "t").await, before);
    }
    for (kind, name, code) in [
        (TOPIC, "none", KafkaError::UnknownTopicOrPartition),
        (TOPIC, "a b", KafkaError::InvalidTopic),
        (TOPIC, "__consumer_offsets", KafkaError::InvalidRequest),
        (BROKER, "1", KafkaError::InvalidRequest),
        (BROKER, "", KafkaError::InvalidRequest),
        (32, "group", KafkaError::InvalidRequest),
    ] {
        let change = [("retention.ms", SET, Some("1"))];
        let refused = client.call(1, &alter(kind, name, &change)).await.responses.remove(0);
        assert_eq!(refused.error_code, code.code(), "{kind} {name}: {:?}", refused.error_message);
    }
    let mut twice = alter(TOPIC, "t", &[("retention.ms", SET, Some("1"))]);
    twice.resources.push(twice.resources[0].clone());
    let codes: Vec<_> =
        client.call(1, &twice).await.responses.iter().map(|response| response.error_code).collect();
    assert_eq!(codes, [42, 42]);
    assert_eq!(set(&mut client, "t").await, before);
    world.stop().await;
}
