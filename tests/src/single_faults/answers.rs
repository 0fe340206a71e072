//! Everything that clients can ask a broker, and how two sets of answers differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_broker::{
    ApiError, Broker, FetchOffsetsRequest, FetchRequest, Isolation, OffsetAnswer, OffsetPoint, OffsetQuery,
    PartitionFetch,
};
use millrace_env::Env;
use millrace_log::StartReport;
use millrace_log::names::partition_dir;
use millrace_record::split_batches;
use millrace_types::{
    ErrorCode, GroupId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId, TopicPartition,
};

use super::world::{GROUPS, TOPICS, World, by_name, ctx, send, start};

/// One partition as readers see it.
#[derive(Debug, Default)]
struct PartitionAnswers {
    /// The name of its directory.
    dir: String,
    /// Every record, by offset.
    records: BTreeMap<i64, String>,
    /// Offsets that answered CORRUPT.
    corrupt: Vec<(i64, i64)>,
    /// Why reading stopped, if not at the end.
    stopped: Option<ApiError>,
    end: i64,
    leader_epoch: Option<LeaderEpoch>,
}

/// What a broker answers.
#[derive(Debug, Default)]
pub struct Answers {
    refused: Option<String>,
    report: Option<StartReport>,
    /// Damaged ranges that were known when everything had been asked.
    damaged: usize,
    partitions: BTreeMap<(String, u32), PartitionAnswers>,
    /// All other answers: the question, and the answer or the error. With the directory that the answer lies in.
    others: BTreeMap<String, (String, Result<String, ApiError>)>,
    fresh_producer: Option<ProducerId>,
}

/// An answer that is another one.
#[derive(Debug)]
pub enum Difference {
    /// It says so, or its place is reported.
    Told(String),
    /// It does not.
    Silent(String),
}

impl Answers {
    /// Starts a broker and asks it for everything.
    ///
    /// # Panics
    /// When the broker breaks a rule that has nothing to do with what is stored.
    pub async fn of(env: Env, world: &World) -> Answers {
        Answers::under(env, world, || ()).await
    }

    /// As [`Answers::of`], with `fault` falling when the broker has started.
    ///
    /// # Panics
    /// As [`Answers::of`].
    pub async fn under(env: Env, world: &World, fault: impl FnOnce()) -> Answers {
        let mut answers = Answers::default();
        let broker = match start(env).await {
            Ok(broker) => broker,
            Err(error) => {
                answers.refused = Some(error.to_string());
                return answers;
            }
        };
        fault();
        answers.topics(&broker).await;
        for (topic, partitions) in TOPICS {
            for partition in 0..partitions {
                answers.partition(&broker, topic, partition).await;
            }
        }
        answers.commits(&broker).await;
        for sent in &world.last_sent {
            let question = format!("a retry for {} {}", sent.topic, sent.partition);
            let dir = answers.dir_of(sent.topic, sent.partition);
            answers.others.insert(question, (dir, send(&broker, sent).await));
        }
        answers.fresh_producer = broker.init_producer(&ctx()).await.ok().map(|producer| producer.id);
        answers.report = Some(broker.start_report());
        answers.damaged = broker.damaged_ranges();
        answers
    }

    fn dir_of(&self, topic: &str, partition: u32) -> String {
        self.partitions.get(&(topic.to_owned(), partition)).map(|found| found.dir.clone()).unwrap_or_default()
    }

    async fn topics(&mut self, broker: &Arc<Broker>) {
        let list = broker.list_topics(&ctx()).await.map(|topics| {
            let topic =
                |topic: &millrace_broker::TopicSummary| format!("{} {}", topic.name, topic.partitions);
            topics.iter().map(topic).collect::<Vec<_>>().join(", ")
        });
        self.others.insert("the topics".to_owned(), (String::new(), list));
        for (name, _) in TOPICS {
            let described = broker.describe_topic(&ctx(), by_name(name)).await;
            let configs =
                described.as_ref().map(|topic| format!("{:?}", topic.configs)).map_err(Clone::clone);
            self.others.insert(format!("the configs of {name}"), (String::new(), configs));
            let Ok(topic) = described else { continue };
            for found in topic.partitions {
                let id = TopicPartition { topic: topic.id, partition: found.partition };
                let known = PartitionAnswers {
                    dir: partition_dir(id),
                    leader_epoch: found.leader.map(|_| found.leader_epoch),
                    ..PartitionAnswers::default()
                };
                self.partitions.insert((name.to_owned(), found.partition.0), known);
            }
        }
    }

    async fn partition(&mut self, broker: &Arc<Broker>, topic: &str, partition: u32) {
        let dir = self.dir_of(topic, partition);
        let times = (0..4).flat_map(|life| (0..24).map(move |step| life * 1_000_000 + step * 1000 - 500));
        let times = times.map(|time| OffsetPoint::Time(TimestampMs(1_735_000_000_000 + time)));
        let points = [OffsetPoint::Earliest, OffsetPoint::Latest, OffsetPoint::LargestTimestamp];
        let points: Vec<OffsetPoint> = points.into_iter().chain(times).collect();
        let query = |point: &OffsetPoint| OffsetQuery {
            topic: by_name(topic),
            partition: PartitionIndex(partition),
            point: *point,
            leader_epoch: None,
        };
        let asked = broker.list_offsets(&ctx(), points.iter().map(query).collect()).await.expect("answers");
        for (point, answer) in points.iter().zip(asked) {
            let question = format!("{topic} {partition} at {point:?}");
            // The leader's epoch is a new one after every unclean stop, and a fault may well make a stop unclean.
            let answer = answer.map(|answer| match point {
                OffsetPoint::Latest => OffsetAnswer { leader_epoch: None, ..answer },
                _ => answer,
            });
            self.others.insert(question, (dir.clone(), answer.map(|answer| format!("{answer:?}"))));
        }
        self.records(broker, topic, partition).await;
    }

    async fn records(&mut self, broker: &Arc<Broker>, topic: &str, partition: u32) {
        let earliest = self.others.get(&format!("{topic} {partition} at Earliest"));
        let from = earliest.and_then(|(_, answer)| answer.as_ref().ok()).and_then(|text| number_in(text));
        let found = self.partitions.entry((topic.to_owned(), partition)).or_default();
        let mut from = from.unwrap_or(0);
        loop {
            let wanted = PartitionFetch {
                topic: by_name(topic),
                partition: PartitionIndex(partition),
                offset: Offset::from_count(from),
                end_offset: None,
                bytes_max: None,
                last_read_epoch: None,
                leader_epoch: None,
            };
            let request = FetchRequest {
                partitions: vec![wanted],
                bytes_max: 1 << 20,
                bytes_min: 1,
                wait: Duration::ZERO,
                isolation: Isolation::Committed,
            };
            match broker.fetch(&ctx(), request).await.expect("an answer").partitions.remove(0) {
                Ok(fetched) => {
                    for batch in fetched.extents.into_iter().flat_map(split_batches) {
                        // A client checks every batch; one that does not open is an error that it sees.
                        let Ok(batch) = batch else { continue };
                        let epoch = batch.leader_epoch();
                        for record in batch.records().into_iter().flatten().flatten() {
                            let text = format!("{epoch} {:?} {:?}", record.timestamp, record.value);
                            found.records.insert(record.offset.get(), text);
                        }
                    }
                    let next = u64::try_from(fetched.next_offset.get()).expect("an offset");
                    found.end = fetched.high_watermark.get();
                    if next == from {
                        return;
                    }
                    from = next;
                }
                Err(error) if error.code == ErrorCode::Corrupt && error.corrupt.is_some() => {
                    let range = error.corrupt.expect("a range");
                    found.corrupt.push((range.start.get(), range.end.get()));
                    from = u64::try_from(range.end.get()).expect("an offset").max(from + 1);
                }
                Err(error) => {
                    found.stopped = Some(error);
                    return;
                }
            }
        }
    }

    async fn commits(&mut self, broker: &Arc<Broker>) {
        for group in GROUPS {
            let all = FetchOffsetsRequest {
                group: GroupId::new(group).expect("a group"),
                partitions: None,
                member: None,
            };
            let answer = broker.fetch_offsets(&ctx(), all).await.and_then(|found| {
                let found =
                    found.into_iter().map(|one| one.map(|one| format!("{:?} {}", one.offset, one.metadata)));
                found.collect::<Result<Vec<_>, _>>().map(|found| found.join(", "))
            });
            self.others.insert(format!("all offsets of {group}"), ("offsets".to_owned(), answer));
            for (topic, _) in TOPICS {
                let one = FetchOffsetsRequest {
                    group: GroupId::new(group).expect("a group"),
                    partitions: Some(vec![(by_name(topic), PartitionIndex(0))]),
                    member: None,
                };
                let answer = broker.fetch_offsets(&ctx(), one).await.and_then(|mut found| {
                    found.remove(0).map(|one| format!("{:?} {}", one.offset, one.metadata))
                });
                self.others
                    .insert(format!("the offset of {group} in {topic}"), ("offsets".to_owned(), answer));
            }
        }
    }

    /// Whether a place is named in what the start reported.
    fn is_reported(&self, dir: &str) -> bool {
        let Some(report) = &self.report else { return false };
        let mut lines = report.damaged.iter().chain(&report.cut);
        match dir {
            "offsets" => lines.next().is_some(),
            dir => lines.any(|line| !dir.is_empty() && line.contains(dir)),
        }
    }

    /// Whether anything at all was said of damage.
    #[must_use]
    pub fn tells_of_damage(&self) -> bool {
        let reported =
            self.report.as_ref().is_some_and(|report| !report.damaged.is_empty() || !report.cut.is_empty());
        self.refused.is_some() || reported || self.damaged > 0
    }

    /// How `self` differs from what is right.
    #[must_use]
    pub fn differences(&self, right: &Answers, world: &World) -> Vec<Difference> {
        if let Some(refusal) = &self.refused {
            return vec![Difference::Told(refusal.clone())];
        }
        let mut found = Vec::new();
        for (question, (dir, answer)) in &self.others {
            let Some((_, expected)) = right.others.get(question) else { continue };
            match answer {
                answer if answer == expected => {}
                Err(error) => found.push(Difference::Told(format!("{question}: {error}"))),
                Ok(_) if self.is_reported(dir) => {
                    found.push(Difference::Told(format!("{question}: reported")))
                }
                Ok(answer) => {
                    found.push(Difference::Silent(format!("{question}: {answer} instead of {expected:?}")));
                }
            }
        }
        for (name, right) in &right.partitions {
            match self.partitions.get(name) {
                Some(partition) => self.partition_differences(partition, right, &mut found),
                None => found.push(Difference::Told(format!("{name:?} is not described"))),
            }
        }
        let known: BTreeSet<ProducerId> = world.producers.iter().copied().collect();
        if let Some(id) = self.fresh_producer.filter(|id| known.contains(id)) {
            let text = format!("producer id {id} is handed out again");
            // A tail that was never marked as synced, and is bad: two faults at once, reported as a cut.
            let metadata = partition_dir(TopicPartition {
                topic: TopicId::CLUSTER_METADATA,
                partition: PartitionIndex(0),
            });
            found.push(if self.is_reported(&metadata) {
                Difference::Told(text)
            } else {
                Difference::Silent(text)
            });
        }
        found
    }

    fn partition_differences(
        &self,
        is: &PartitionAnswers,
        right: &PartitionAnswers,
        found: &mut Vec<Difference>,
    ) {
        let told = |offset: i64| {
            is.corrupt.iter().any(|(start, end)| *start <= offset && offset < *end)
                || is.stopped.is_some()
                || self.is_reported(&is.dir)
        };
        for (offset, record) in &right.records {
            match is.records.get(offset) {
                Some(read) if read == record => {}
                Some(read) => found.push(Difference::Silent(format!("{}: {offset} is {read:.60}", is.dir))),
                None if told(*offset) => {
                    found.push(Difference::Told(format!("{}: {offset} is not served", is.dir)))
                }
                None => found.push(Difference::Silent(format!("{}: {offset} is missing", is.dir))),
            }
        }
        let more = is.records.keys().find(|offset| !right.records.contains_key(offset));
        if let Some(offset) = more {
            let text = format!("{}: {offset} was not there before", is.dir);
            found.push(if self.is_reported(&is.dir) {
                Difference::Told(text)
            } else {
                Difference::Silent(text)
            });
        }
        if is.leader_epoch.is_some() && is.leader_epoch < right.leader_epoch {
            let text =
                format!("{}: leader epoch {:?} after {:?}", is.dir, is.leader_epoch, right.leader_epoch);
            found.push(if self.is_reported(&is.dir) {
                Difference::Told(text)
            } else {
                Difference::Silent(text)
            });
        }
    }
}

/// The first number in a text.
fn number_in(text: &str) -> Option<u64> {
    let digits = text.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?;
    digits.parse().ok()
}
