//! Other people's Kafka clients as members of groups, each against a broker of its own: they write with every codec and every
//! `acks`, read by group, share the partitions, live through `kill -9` of the broker, and go on from what was committed. The same
//! client's administration makes the topic, looks at the group and removes both.
#![allow(clippy::unwrap_used, reason = "an exam fails by panicking, in its own functions too")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use millrace_tests::judged::Judged;
use millrace_tests::kafka_clients::{
    AIOKAFKA, FRANZ, Group, JAVA, KAFKA_PYTHON, KAFKAJS, KafkaClient, LIBRDKAFKA, Member, SARAMA, Sent, Talk,
    Told, Wish,
};
use millrace_tests::{require, say};
use serde_json::{Value, json};

const PARTITIONS: i64 = 4;
/// To each partition, in each round after the first.
const EACH: usize = 5;
const BEGAN_MS: i64 = 1_700_000_000_000;
/// What not every client can do.
const MOVE: &str = "move";
const FORGET: &str = "forget";

#[test]
fn librdkafka_shares_a_group_in_generations() {
    exam("exam_group_librdkafka", LIBRDKAFKA, (CLASSIC, None), &[]);
}

#[test]
fn librdkafka_shares_a_group_cooperatively() {
    exam("exam_group_librdkafka_cooperative", LIBRDKAFKA, (CLASSIC, Some("cooperative-sticky")), &[]);
}

#[test]
fn librdkafka_shares_a_group_by_epochs() {
    exam("exam_group_librdkafka_consumer", LIBRDKAFKA, (CONSUMER, None), &[]);
}

#[test]
fn kafka_python_shares_a_group() {
    exam("exam_group_kafka_python", KAFKA_PYTHON, (CLASSIC, None), &[]);
}

#[test]
fn aiokafka_shares_a_group() {
    exam("exam_group_aiokafka", AIOKAFKA, (CLASSIC, None), &[MOVE, FORGET]);
}

#[test]
fn kafkas_java_client_shares_a_group_in_generations() {
    exam("exam_group_java", JAVA, (CLASSIC, None), &[]);
}

#[test]
fn kafkas_java_client_shares_a_group_cooperatively() {
    let cooperative = Some("org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    exam("exam_group_java_cooperative", JAVA, (CLASSIC, cooperative), &[]);
}

#[test]
fn kafkas_java_client_shares_a_group_by_epochs() {
    exam("exam_group_java_consumer", JAVA, (CONSUMER, None), &[]);
}

#[test]
fn franz_go_shares_a_group_cooperatively() {
    exam("exam_group_franz_go", FRANZ, (CLASSIC, None), &[]);
}

#[test]
fn franz_go_shares_a_group_by_epochs() {
    exam("exam_group_franz_go_consumer", FRANZ, (CONSUMER, None), &[]);
}

#[test]
fn sarama_shares_a_group() {
    exam("exam_group_sarama", SARAMA, (CLASSIC, None), &[]);
}

#[test]
fn kafkajs_shares_a_group() {
    exam("exam_group_kafkajs", KAFKAJS, (CLASSIC, None), &[]);
}

const CLASSIC: &str = "classic";
const CONSUMER: &str = "consumer";

fn exam(
    suite: &'static str,
    client: KafkaClient,
    (protocol, assignor): (&'static str, Option<&'static str>),
    lacks: &[&str],
) {
    if !require(suite, client.language.needs()) {
        return;
    }
    let began = Instant::now();
    let judged = Judged::start(&[]);
    let admin = Admin::start(client, judged.bootstrap());
    let topic = judged.name(suite);
    let wish = Wish { group: topic.clone(), topic: topic.clone(), protocol, assignor };
    let group = Group::new(client, judged.bootstrap(), wish);
    let mut exam = Exam { client, judged, admin, group, topic, sent: BTreeMap::new() };
    exam.make_the_topic();
    exam.share_the_partitions();
    exam.outlive_a_kill();
    exam.go_on_from_what_was_committed();
    exam.remove_everything(lacks);
    let name = client.name;
    exam.judged.stop();
    say(&format!("{suite}: {name} passed as {protocol}, in {:.1} s", began.elapsed().as_secs_f64()));
}

struct Exam {
    client: KafkaClient,
    judged: Judged,
    admin: Admin,
    group: Group,
    /// Of the group too.
    topic: String,
    /// The values of each round.
    sent: BTreeMap<usize, BTreeSet<String>>,
}

impl Exam {
    fn make_the_topic(&mut self) {
        let topic = &self.topic.clone();
        let keeps = json!({ "retention.ms": "-1" });
        let create = json!({ "do": "create", "topic": topic, "partitions": PARTITIONS, "configs": keeps });
        self.admin.ask(&create);
        let refused = self.admin.refused(&create).to_lowercase();
        assert!(refused.contains("exist"), "{refused}");
        self.told(&json!({ "do": "topics" }), |answer| names(&answer["topics"]).contains(topic.as_str()));
        let describe = json!({ "do": "describe", "topic": topic });
        self.told(&describe, |answer| answer["partitions"] == PARTITIONS);
        self.told(&json!({ "do": "cluster" }), |answer| answer["brokers"] == 1);

        let configs = json!({ "do": "configs", "topic": topic });
        self.told(&configs, |answer| answer["configs"]["retention.ms"] == "-1");
        let longer = json!({ "retention.ms": "900000000000" });
        self.admin.ask(&json!({ "do": "alter", "topic": topic, "configs": longer }));
        self.told(&configs, |answer| answer["configs"]["retention.ms"] == "900000000000");
        let unknown = json!({ "no.such.key": "1" });
        self.admin.refused(&json!({ "do": "alter", "topic": topic, "configs": unknown }));

        let other = format!("{topic}-other");
        self.admin.ask(&json!({ "do": "create", "topic": other, "partitions": 1, "configs": {} }));
        self.told(&json!({ "do": "describe", "topic": other }), |answer| answer["partitions"] == 1);
        self.admin.ask(&json!({ "do": "grow", "topic": other, "partitions": 3 }));
        self.told(&json!({ "do": "describe", "topic": other }), |answer| answer["partitions"] == 3);
    }

    /// Asks for what must be so.
    fn told(&mut self, what: &Value, is_so: impl Fn(&Value) -> bool) {
        let mut answer = Value::Null;
        let admin = &mut self.admin;
        let told = self.judged.soon(|| {
            answer = admin.answer(what);
            is_so(&answer)
        });
        assert!(told, "{}: {what} is answered with {answer}", self.client.name);
    }

    /// Two members hold half of the partitions each, and what is sent then is read once.
    fn share_the_partitions(&mut self) {
        self.send_in_every_way();
        self.group.join();
        self.group.until("the first member with everything", |members| members[0].held == all());
        self.read(1);
        self.group.join();
        self.group.until("two members with half of it each", halves);
        self.send(2);
        self.read(2);
        let mut values: Vec<&str> = self.group.values();
        values.retain(|value| self.sent[&2].contains(*value));
        assert_eq!(values.len(), self.sent[&2].len(), "each record once");
        for member in &self.group.members {
            let foreign = |(partition, _, value): &&(i64, i64, String)| {
                self.sent[&2].contains(value) && !member.held.contains(partition)
            };
            assert_eq!(member.read.iter().find(foreign), None, "of what it holds: {:?}", member.held);
        }
    }

    fn outlive_a_kill(&mut self) {
        self.judged.kill_and_start();
        // Some clients tell of a connection that has ended while nobody used it as an error of the next request.
        self.admin = Admin::start(self.client, self.judged.bootstrap());
        self.send(3);
        self.read(3);
    }

    /// Who is left takes everything over, and who comes when nobody is there begins behind what was committed.
    fn go_on_from_what_was_committed(&mut self) {
        self.group.leave(1);
        self.group.until("everything with who is left", |members| members[0].held == all());
        self.send(4);
        self.read(4);
        self.group.leave(0);
        self.send(5);
        let third = self.group.join();
        self.read(5);
        let read = self.group.members[third].read.iter();
        let read: BTreeSet<String> = read.map(|(_, _, value)| value.clone()).collect();
        assert_eq!(read, self.sent[&5], "what was not committed yet, and nothing else");
        let described = self.admin.ask(&json!({ "do": "group", "group": self.topic }));
        assert_eq!(described["members"], 1, "{described}");
        assert_eq!(described["state"].as_str().unwrap().to_lowercase(), "stable");
        self.group.leave(third);
    }

    fn remove_everything(&mut self, lacks: &[&str]) {
        let topic = &self.topic.clone();
        let groups = json!({ "do": "groups" });
        self.told(&groups, |answer| names(&answer["groups"]).contains(topic.as_str()));
        let total: usize = self.sent.values().map(BTreeSet::len).sum();
        let committed: i64 = self.committed().values().sum();
        assert_eq!(committed, i64::try_from(total).unwrap(), "everything is committed");
        if !lacks.contains(&MOVE) {
            self.admin
                .ask(&json!({ "do": MOVE, "group": topic, "topic": topic, "partition": 0, "offset": 3 }));
            assert_eq!(self.committed()[&0], 3);
        }
        let trimmed = self.admin.ask(&json!({ "do": "trim", "topic": topic, "partition": 1, "before": 2 }));
        assert_eq!(trimmed["low"], 2);
        if !lacks.contains(&FORGET) {
            self.admin.ask(&json!({ "do": FORGET, "group": topic }));
            self.told(&groups, |answer| !names(&answer["groups"]).contains(topic.as_str()));
        }
        self.admin.ask(&json!({ "do": "delete", "topic": topic }));
        self.told(&json!({ "do": "topics" }), |answer| !names(&answer["topics"]).contains(topic.as_str()));
        self.admin.end();
    }

    /// By partition.
    fn committed(&mut self) -> BTreeMap<i64, i64> {
        let answer = self.admin.ask(&json!({ "do": "offsets", "group": self.topic }));
        let place = |place: &Value| (place[1].as_i64().unwrap(), place[2].as_i64().unwrap());
        answer["offsets"].as_array().unwrap().iter().map(place).collect()
    }

    /// The first round: every codec, every level of acknowledgement.
    fn send_in_every_way(&mut self) {
        let mut records = Vec::new();
        for codec in self.client.codecs {
            for acks in ["all", "1", "0"] {
                for partition in 0..PARTITIONS {
                    let value = format!("1 {codec} {acks} {partition}");
                    records.push(Sent { codec, acks, ..self.record(partition, value) });
                }
            }
        }
        self.send_these(1, &records);
    }

    fn send(&mut self, round: usize) {
        let record = |partition, number| self.record(partition, format!("{round} {partition} {number}"));
        let records: Vec<Sent> = (0..PARTITIONS)
            .flat_map(|partition| (0..EACH).map(move |number| (partition, number)))
            .map(|(partition, number)| record(partition, number))
            .collect();
        self.send_these(round, &records);
    }

    fn send_these(&mut self, round: usize, records: &[Sent]) {
        let _places = self.client.produce(self.judged.bootstrap(), records, &[]);
        let text = |record: &Sent| String::from_utf8_lossy(record.value.as_ref().unwrap()).into_owned();
        self.sent.insert(round, records.iter().map(text).collect());
    }

    fn record(&self, partition: i64, value: String) -> Sent {
        Sent {
            topic: self.topic.clone(),
            partition,
            codec: "none",
            acks: "all",
            timestamp: BEGAN_MS,
            key: None,
            value: Some(value.into()),
            headers: Vec::new(),
        }
    }

    /// Waits until every record of a round was read by somebody.
    fn read(&mut self, round: usize) {
        let sent = self.sent[&round].clone();
        self.group.until(&format!("round {round}, read by somebody"), |members| {
            let read: BTreeSet<&str> =
                members.iter().flat_map(|member| &member.read).map(|(_, _, value)| value.as_str()).collect();
            sent.iter().all(|value| read.contains(value.as_str()))
        });
    }
}

fn all() -> BTreeSet<i64> {
    (0..PARTITIONS).collect()
}

fn halves(members: &[Member]) -> bool {
    let held: BTreeSet<i64> = members.iter().flat_map(|member| &member.held).copied().collect();
    held == all() && members.iter().all(|member| member.held.len() == 2)
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A client's administration.
struct Admin {
    talk: Talk,
    client: KafkaClient,
}

impl Admin {
    fn start(client: KafkaClient, bootstrap: &str) -> Admin {
        let mut talk = Talk::default();
        talk.start(client.name, &mut client.command(&["admin", bootstrap]));
        Admin { talk, client }
    }

    fn ask(&mut self, what: &Value) -> Value {
        let answer = self.answer(what);
        assert_eq!(answer["error"], Value::Null, "{}: {what}\n{}", self.client.name, self.talk.complaints());
        answer
    }

    /// Why it is not done.
    fn refused(&mut self, what: &Value) -> String {
        let answer = self.answer(what);
        answer["error"].as_str().unwrap_or_else(|| panic!("{what} was not refused")).to_owned()
    }

    fn answer(&mut self, what: &Value) -> Value {
        self.talk.say(0, what);
        match self.talk.hear(&what.to_string()) {
            (_, Told::Line(line)) => line,
            (_, Told::Silent) => panic!("{what}\n{}", self.talk.complaints()),
        }
    }

    fn end(&mut self) {
        self.talk.hang_up(0);
        while self.talk.hear("the end of the administration").1 != Told::Silent {}
        self.talk.end(0);
    }
}
