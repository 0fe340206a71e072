//! Decisions one by one, and their invariants under random commands.

use millrace_schema::ProducerIdsTaken;
use millrace_types::{DirectoryId, ErrorCode, NodeId, ProducerId, TopicName};
use proptest::prelude::*;

use super::*;
use crate::{Command, FEATURE_LEVEL_NEWEST, decide};

const NODE: NodeId = NodeId(1);

fn create(number: u8, name: &str) -> CreateTopic {
    CreateTopic {
        id: TopicId([number; 16]),
        name: TopicName::new(name).unwrap(),
        partitions: None,
        replication_factor: None,
        configs: BTreeMap::new(),
        owner: Owner::User,
    }
}

fn register(node: NodeId) -> Command {
    Command::RegisterBroker { node, directory: DirectoryId([3; 16]), grpc: "127.0.0.1:7070".to_owned() }
}

/// Decides and folds, as a driver does.
fn run(image: &Image, command: &Command) -> Result<Image, Refusal> {
    let records = decide(image, command)?;
    // Through the bytes, as the log keeps them.
    let records = records.iter().map(|record| MetadataRecord::decode(&record.encode()).unwrap());
    Ok(records.fold(image.clone(), |image, record| image.apply(&record).unwrap()))
}

fn one_broker() -> Image {
    run(&Image::default(), &register(NODE)).unwrap()
}

fn code(image: &Image, topic: CreateTopic) -> Result<(), ErrorCode> {
    decide(image, &Command::CreateTopic(topic)).map(|_| ()).map_err(|refusal| refusal.code())
}

#[test]
fn a_topic_gets_what_was_left_to_the_cluster() {
    let image = run(&one_broker(), &Command::CreateTopic(create(1, "orders"))).unwrap();
    let topic = image.topic_by_id(TopicId([1; 16])).unwrap();
    assert_eq!((topic.partition_count(), topic.replication_factor), (1, 1));
    let partition = topic.partition(millrace_types::PartitionIndex(0)).unwrap();
    assert_eq!(
        (partition.leader, &*partition.replicas, &*partition.isr),
        (Some(NODE), &[NODE][..], &[NODE][..])
    );
    assert_eq!(topic.configs.get(MIN_INSYNC).map(String::as_str), Some("1"));
    assert_eq!(image.topic_by_name(&topic.name), Some(topic));
}

#[test]
fn names_that_are_taken_clash_or_are_reserved_are_refused() {
    let image = run(&one_broker(), &Command::CreateTopic(create(1, "Orders.v1"))).unwrap();
    assert_eq!(code(&image, create(2, "Orders.v1")), Err(ErrorCode::TopicAlreadyExists));
    assert_eq!(code(&image, create(2, "orders_V1")), Err(ErrorCode::TopicAlreadyExists));
    assert_eq!(code(&image, create(1, "other")), Err(ErrorCode::InvalidRequest));
    assert_eq!(code(&image, create(2, "__millrace_mine")), Err(ErrorCode::InvalidTopicName));
    assert_eq!(code(&image, CreateTopic { owner: Owner::Product, ..create(2, "__millrace_mine") }), Ok(()));
    assert_eq!(
        code(&image, CreateTopic { id: TopicId::CLUSTER_METADATA, ..create(2, "x") }),
        Err(ErrorCode::InvalidRequest)
    );
}

#[test]
fn a_topic_of_the_product_is_synced_before_anything_in_it_is_acknowledged() {
    let image = one_broker();
    let in_mode = |mode: &str| CreateTopic {
        owner: Owner::Product,
        configs: [("sync.mode".to_owned(), mode.to_owned())].into(),
        ..create(1, "__consumer_offsets")
    };
    assert_eq!(code(&image, in_mode("always")), Ok(()));
    assert_eq!(code(&image, in_mode("interval=10,65536")), Err(ErrorCode::InvalidConfig));
    assert_eq!(code(&image, in_mode("os")), Err(ErrorCode::InvalidConfig));
    let refused = decide(&image, &Command::CreateTopic(in_mode("os"))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "topic __consumer_offsets belongs to the product: its sync.mode is always, not os"
    );
}

#[test]
fn counts_and_factors_are_bounded() {
    let image = one_broker();
    let partitions = |n| code(&image, CreateTopic { partitions: Some(n), ..create(1, "a") });
    assert_eq!(partitions(0), Err(ErrorCode::InvalidPartitionCount));
    assert_eq!(partitions(10_001), Err(ErrorCode::InvalidPartitionCount));
    assert_eq!(partitions(10_000), Ok(()));
    let full = Command::CreateTopic(CreateTopic { partitions: Some(10_000), ..create(1, "a") });
    let full = run(&image, &full).unwrap();
    let more = code(&full, CreateTopic { partitions: Some(1_000), ..create(2, "b") });
    assert_eq!(more, Err(ErrorCode::InvalidPartitionCount));
    let factor = |n| code(&image, CreateTopic { replication_factor: Some(n), ..create(1, "a") });
    assert_eq!(factor(0), Err(ErrorCode::InvalidReplicationFactor));
    assert_eq!(factor(2), Err(ErrorCode::InvalidReplicationFactor));
    assert_eq!(factor(1), Ok(()));
    let min_insync = [(MIN_INSYNC.to_owned(), "2".to_owned())].into();
    assert_eq!(
        code(&image, CreateTopic { configs: min_insync, ..create(1, "a") }),
        Err(ErrorCode::InvalidReplicationFactor)
    );
    assert_eq!(code(&Image::default(), create(1, "a")), Err(ErrorCode::InvalidReplicationFactor));
}

#[test]
fn three_brokers_spread_leaders_and_replicas() {
    let image =
        [1, 2, 3].into_iter().fold(Image::default(), |image, n| run(&image, &register(NodeId(n))).unwrap());
    let wanted = CreateTopic { partitions: Some(6), ..create(1, "a") };
    let image = run(&image, &Command::CreateTopic(wanted)).unwrap();
    let topic = image.topic_by_id(TopicId([1; 16])).unwrap();
    let leaders: Vec<_> = topic.partitions.iter().map(|partition| partition.leader.unwrap().0).collect();
    assert_eq!(leaders, [1, 2, 3, 1, 2, 3]);
    assert!(topic.partitions.iter().all(|p| p.replicas.iter().collect::<BTreeSet<_>>().len() == 3));
    assert_eq!(topic.config.min_insync_replicas, 2);
}

#[test]
fn a_deleted_name_is_free_again_under_another_id() {
    let first = run(&one_broker(), &Command::CreateTopic(create(1, "a"))).unwrap();
    let gone = run(&first, &Command::DeleteTopic { id: TopicId([1; 16]) }).unwrap();
    assert_eq!((gone.partition_count(), gone.topics().count()), (0, 0));
    let again = run(&gone, &Command::CreateTopic(create(2, "A"))).unwrap();
    assert!(again.topic_by_id(TopicId([1; 16])).is_none());
    assert!(again.topic_by_id(TopicId([2; 16])).is_some());
    let twice = decide(&again, &Command::DeleteTopic { id: TopicId([1; 16]) });
    assert_eq!(twice.map_err(|refusal| refusal.code()), Err(ErrorCode::UnknownTopicOrPartition));
}

#[test]
fn a_topic_of_the_product_is_not_deleted() {
    let wanted = CreateTopic { owner: Owner::Product, ..create(1, "__consumer_offsets") };
    let image = run(&one_broker(), &Command::CreateTopic(wanted)).unwrap();
    let refused = decide(&image, &Command::DeleteTopic { id: TopicId([1; 16]) }).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidRequest);
}

#[test]
fn registering_again_in_the_same_words_writes_nothing() {
    let image = one_broker();
    assert_eq!(decide(&image, &register(NODE)), Ok(Vec::new()));
    assert_eq!(decide(&image, &Command::RaiseFeatureLevel { level: 1 }).map(|records| records.len()), Ok(1));
    let above = Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST + 1 };
    assert!(decide(&image, &above).is_err());
}

#[test]
fn an_image_shares_the_topics_that_a_record_does_not_touch() {
    let first = run(&one_broker(), &Command::CreateTopic(create(1, "a"))).unwrap();
    let second = run(&first, &Command::CreateTopic(create(2, "b"))).unwrap();
    let id = TopicId([1; 16]);
    assert!(std::sync::Arc::ptr_eq(first.topic_by_id(id).unwrap(), second.topic_by_id(id).unwrap()));
}

#[test]
fn a_log_that_contradicts_itself_is_not_folded() {
    let image = one_broker();
    let created = decide(&image, &Command::CreateTopic(create(1, "a"))).unwrap();
    let with_topic = image.clone().apply(&created[0]).unwrap();
    assert!(with_topic.apply(&created[0]).is_err());
    assert!(image.clone().apply(&MetadataRecord::TopicDeleted { id: TopicId([1; 16]) }).is_err());
    assert!(image.clone().apply(&MetadataRecord::FeatureLevelRaised { level: 99 }).is_err());
    let block = ProducerIdsTaken { node: NODE, first: ProducerId(0), count: 10 };
    let taken = image.apply(&MetadataRecord::ProducerIdsTaken(block)).unwrap();
    assert!(taken.apply(&MetadataRecord::ProducerIdsTaken(block)).is_err());
}

fn set(key: &str, value: &str) -> ConfigChange {
    ConfigChange::Set { key: key.to_owned(), value: value.to_owned() }
}

fn unset(key: &str) -> ConfigChange {
    ConfigChange::Unset { key: key.to_owned() }
}

/// Topic 1, in a cluster that may alter it.
fn one_topic() -> Image {
    let image = run(&one_broker(), &Command::RaiseFeatureLevel { level: FEATURE_LEVEL_NEWEST }).unwrap();
    let configs = [("retention.ms".to_owned(), "1000".to_owned())].into();
    run(&image, &Command::CreateTopic(CreateTopic { configs, ..create(1, "a") })).unwrap()
}

fn alter(image: &Image, changes: Vec<ConfigChange>) -> Result<Image, Refusal> {
    run(image, &Command::AlterTopic { id: TopicId([1; 16]), changes })
}

#[test]
fn a_change_of_configs_touches_the_keys_that_it_names() {
    let image = one_topic();
    let topic = |image: &Image| image.topic_by_id(TopicId([1; 16])).unwrap().clone();
    let changed = alter(&image, vec![set("sync.mode", "os"), set("retention.bytes", "5")]).unwrap();
    let config = topic(&changed).config.clone();
    assert_eq!((config.sync_mode, config.retention_bytes), (SyncMode::Os, Some(5)));
    assert_eq!(config.retention_ms, Some(1000));
    let changed = alter(&changed, vec![unset("retention.ms"), unset("segment.ms")]).unwrap();
    assert_eq!(
        (topic(&changed).config.retention_ms, topic(&changed).config.retention_bytes),
        (None, Some(5))
    );
    assert!(!topic(&changed).configs.contains_key("retention.ms"));
    // What is in the topic's own words counts, not what is in force.
    let command = Command::AlterTopic { id: TopicId([1; 16]), changes: vec![set("retention.ms", "1000")] };
    assert_eq!(decide(&image, &command), Ok(Vec::new()));
    // The default that was written into the topic when it was made.
    let changed = alter(&image, vec![unset(MIN_INSYNC)]).unwrap();
    assert_eq!(topic(&changed), topic(&image));
}

#[test]
fn a_change_that_is_refused_in_one_key_changes_none() {
    let image = one_topic();
    for (changes, code) in [
        (vec![set("retention.ms", "5"), set("no.such.key", "1")], ErrorCode::InvalidConfig),
        (vec![set("retention.ms", "x")], ErrorCode::InvalidConfig),
        (vec![unset("no.such.key")], ErrorCode::InvalidConfig),
        (vec![set("retention.ms", "5"), unset("retention.ms")], ErrorCode::InvalidRequest),
        (vec![set(MIN_INSYNC, "2")], ErrorCode::InvalidReplicationFactor),
        (vec![set("compression.type", "zstd")], ErrorCode::Unsupported),
    ] {
        assert_eq!(
            alter(&image, changes.clone()).map_err(|refusal| refusal.code()),
            Err(code),
            "{changes:?}"
        );
    }
    let unknown = Command::AlterTopic { id: TopicId([9; 16]), changes: Vec::new() };
    assert_eq!(
        run(&image, &unknown).map_err(|refusal| refusal.code()),
        Err(ErrorCode::UnknownTopicOrPartition)
    );
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    let image = one_topic();
    let grow = |image: &Image, count| {
        run(image, &Command::CreatePartitions { id: TopicId([1; 16]), count })
            .map_err(|refusal| refusal.code())
    };
    let grown = grow(&image, 4).unwrap();
    assert_eq!(grown.topic_by_id(TopicId([1; 16])).unwrap().partition_count(), 4);
    assert_eq!(grown.partition_count(), 4);
    for count in [0, 3, 4, PARTITIONS_PER_TOPIC_MAX + 1] {
        assert_eq!(grow(&grown, count), Err(ErrorCode::InvalidPartitionCount), "{count}");
    }
    let added = decide(&image, &Command::CreatePartitions { id: TopicId([1; 16]), count: 4 }).unwrap();
    assert!(grown.apply(&added[0]).is_err(), "the same partitions twice");
}

#[test]
fn what_belongs_to_the_product_is_not_altered_and_old_clusters_write_no_new_records() {
    let wanted = CreateTopic { owner: Owner::Product, ..create(2, "__consumer_offsets") };
    let image = run(&one_topic(), &Command::CreateTopic(wanted)).unwrap();
    let id = TopicId([2; 16]);
    let alter = Command::AlterTopic { id, changes: vec![set("retention.ms", "5")] };
    for command in [alter, Command::CreatePartitions { id, count: 5 }] {
        assert_eq!(
            decide(&image, &command).map_err(|refusal| refusal.code()),
            Err(ErrorCode::InvalidRequest)
        );
    }
    let old = run(&one_broker(), &Command::CreateTopic(create(1, "a"))).unwrap();
    let id = TopicId([1; 16]);
    let alter = Command::AlterTopic { id, changes: vec![set("retention.ms", "5")] };
    for command in [alter, Command::CreatePartitions { id, count: 5 }] {
        assert_eq!(decide(&old, &command).map_err(|refusal| refusal.code()), Err(ErrorCode::Unsupported));
    }
}

#[test]
fn words_are_added_to_a_list_and_taken_from_it() {
    let image = one_topic();
    let policy = |image: &Image| image.topic_by_id(TopicId([1; 16])).unwrap().config.cleanup.to_string();
    let append = |value: &str| ConfigChange::Append { key: "cleanup.policy".into(), value: value.into() };
    let subtract = |value: &str| ConfigChange::Subtract { key: "cleanup.policy".into(), value: value.into() };
    let both = alter(&image, vec![append("compact")]).unwrap();
    assert_eq!(policy(&both), "compact,delete");
    let same = alter(&both, vec![append("compact, delete")]).unwrap();
    assert_eq!(policy(&same), "compact,delete");
    let compact = alter(&both, vec![subtract("delete")]).unwrap();
    assert_eq!(policy(&compact), "compact");
    let nothing = alter(&compact, vec![subtract("compact")]).unwrap_err();
    assert_eq!(nothing.code(), ErrorCode::InvalidConfig);
    let no_list = ConfigChange::Append { key: "retention.ms".into(), value: "5".into() };
    assert_eq!(alter(&image, vec![no_list]).unwrap_err().code(), ErrorCode::InvalidConfig);
}

#[test]
fn a_whole_configuration_takes_the_place_of_the_one_before() {
    let image = alter(&one_topic(), vec![set("retention.ms", "5"), set("flush.ms", "1")]).unwrap();
    let configs = BTreeMap::from([("segment.ms".to_owned(), "1000".to_owned())]);
    let id = TopicId([1; 16]);
    let image = run(&image, &Command::ConfigureTopic { id, configs }).unwrap();
    let keys: Vec<_> = image.topic_by_id(id).unwrap().configs.keys().cloned().collect();
    assert_eq!(keys, ["min.insync.replicas", "segment.ms"]);
    let configs = BTreeMap::from([("no.such.key".to_owned(), "1".to_owned())]);
    let refused = run(&image, &Command::ConfigureTopic { id, configs }).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidConfig);
}

fn any_change() -> impl Strategy<Value = ConfigChange> {
    let key = prop::sample::select(vec!["retention.ms", "min.insync.replicas", "sync.mode", "nonsense"]);
    let value = prop::sample::select(vec!["-1", "1", "2", "always", "os"]);
    let list = ["cleanup.policy", "follower.replication.throttled.replicas", "retention.ms"];
    let words = prop::sample::select(vec!["compact", "delete", "compact,delete", "", "1:1"]);
    let of_list =
        (prop::sample::select(list.to_vec()), words, any::<bool>()).prop_map(|(key, value, more)| {
            let (key, value) = (key.to_owned(), value.to_owned());
            if more { ConfigChange::Append { key, value } } else { ConfigChange::Subtract { key, value } }
        });
    let of_any = (key, prop::option::of(value)).prop_map(|(key, value)| match value {
        Some(value) => ConfigChange::Set { key: key.to_owned(), value: value.to_owned() },
        None => ConfigChange::Unset { key: key.to_owned() },
    });
    prop_oneof![of_any, of_list]
}

fn any_command() -> impl Strategy<Value = Command> {
    let name = prop::sample::select(vec!["a", "A", "a.b", "a_b", "c", "__consumer_offsets"]);
    prop_oneof![
        (0_u8..6, name, prop::option::of(0_u32..4), prop::option::of(0_u32..3)).prop_map(
            |(id, name, partitions, replication_factor)| {
                Command::CreateTopic(CreateTopic { partitions, replication_factor, ..create(id, name) })
            }
        ),
        (0_u8..6).prop_map(|id| Command::DeleteTopic { id: TopicId([id; 16]) }),
        (0_u8..6, 0_u32..6)
            .prop_map(|(id, count)| Command::CreatePartitions { id: TopicId([id; 16]), count }),
        (0_u8..6, prop::collection::vec(any_change(), 0..3))
            .prop_map(|(id, changes)| Command::AlterTopic { id: TopicId([id; 16]), changes }),
        (0_u8..6, prop::sample::select(vec!["5", "-1", "x"])).prop_map(|(id, value)| {
            let configs = BTreeMap::from([("retention.ms".to_owned(), value.to_owned())]);
            Command::ConfigureTopic { id: TopicId([id; 16]), configs }
        }),
        (1_i32..3).prop_map(|node| register(NodeId(node))),
        (0_u32..3).prop_map(|level| Command::RaiseFeatureLevel { level }),
        (1_i32..3, 0_u32..5).prop_map(|(node, count)| Command::TakeProducerIds { node: NodeId(node), count }),
    ]
}

proptest! {
    #[test]
    fn whatever_is_decided_folds_and_keeps_the_invariants(commands in prop::collection::vec(any_command(), 0..60)) {
        let mut image = Image::default();
        let mut log = Vec::new();
        let mut handed_out = BTreeSet::new();
        for command in &commands {
            let Ok(records) = decide(&image, command) else { continue };
            for record in records {
                if let MetadataRecord::ProducerIdsTaken(block) = &record {
                    for id in block.first.0..block.first.0 + i64::from(block.count) {
                        prop_assert!(handed_out.insert(id), "producer id {id} twice");
                    }
                }
                image = image.apply(&record).unwrap();
                log.push(record);
            }
            let folded: BTreeSet<_> = image.topics().map(|topic| topic.name.folded()).collect();
            prop_assert_eq!(folded.len(), image.topics().count());
            for topic in image.topics() {
                prop_assert_eq!(image.topic_by_id(topic.id), Some(topic));
                for partition in &topic.partitions {
                    prop_assert_eq!(partition.replicas.len(), usize::try_from(topic.replication_factor).unwrap());
                    prop_assert!(partition.leader.is_some_and(|leader| partition.isr.contains(&leader)));
                }
            }
            let count: u64 = image.topics().map(|topic| u64::from(topic.partition_count())).sum();
            prop_assert_eq!(count, image.partition_count());
        }
        // The same records fold into the same image, on whichever node and after whichever restart.
        let replayed = log.iter().try_fold(Image::default(), Image::apply).unwrap();
        prop_assert_eq!(&replayed, &image);
        let resumed = image.to_records().iter().try_fold(Image::default(), Image::apply).unwrap();
        prop_assert_eq!(resumed, image);
    }
}
