//! What members of a group do, beside another broker: read, share, commit.

use anyhow::Result;

use crate::peers::brokers::Kind;
use crate::peers::client::Answer;
use crate::peers::durability::Durability;
use crate::peers::pages;
use crate::peers::results::{Column, Figures};
use crate::peers::stage::{Bench, Contest, Job, Stage, with_meters};

/// How many partitions the topics of these contests have.
pub const GROUP_PARTITIONS: u32 = 8;

/// Which of Kafka's two protocols the members speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupProtocol {
    /// Members assign each other.
    Classic,
    /// The broker assigns (KIP-848).
    Consumer,
}

impl GroupProtocol {
    /// Both.
    pub const BOTH: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

    /// The word of the client's configuration.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            GroupProtocol::Classic => "classic",
            GroupProtocol::Consumer => "consumer",
        }
    }
}

impl Stage {
    /// One member of a new group reads all there is, committing as the client does by itself and once at the end.
    ///
    /// # Errors
    /// As [`Stage::produce`].
    pub fn group_read(&mut self, protocol: GroupProtocol, job: Job) -> Result<()> {
        let id = format!("group-read-{}", protocol.word());
        if !self.wants(&id) {
            return Ok(());
        }
        let title = format!(
            "read in a group, {}: records of {} B in batches of {} KiB, {} MB a round, from the page cache",
            protocol.word(),
            job.size,
            job.batch / 1024,
            job.bytes() / 1_000_000
        );
        let own = [("mb_s", "MB/s"), ("first_ms", "to first record, ms")];
        let columns = with_meters(&own.map(|(key, head)| Column { key, head }));
        let topic = format!("{id}-topic");
        for broker in self.running.iter().filter(|broker| broker.peer.kind != Kind::Redis) {
            broker.make_topic_of(&mut self.client, &topic, GROUP_PARTITIONS, job.durability)?;
            pages::warm(&self.folder, job.bytes())?;
            Bench { broker, client: &mut self.client, topic: topic.clone() }.produce(job)?;
        }
        let outcome = self.contest(Contest { id, title, columns, with_redis: false }, &mut |bench| {
            // The name of a round is a group here: all of them read the same topic.
            let group = std::mem::replace(&mut bench.topic, topic.clone());
            let meter = bench.meter();
            let answer = bench.in_group("group-read", &group, protocol, job.records)?;
            let mut figures = meter.read(job.bytes(), answer.figure("nanos")? / 1e9);
            figures.insert("first_ms", answer.figure("first_nanos")? / 1e6);
            Ok(figures)
        });
        for broker in self.running.iter().filter(|broker| broker.peer.kind != Kind::Redis) {
            broker.drop_topic(&mut self.client, &topic)?;
        }
        outcome
    }

    /// A second member comes, then it leaves.
    ///
    /// # Errors
    /// As [`Stage::produce`].
    pub fn group_share(&mut self, protocol: GroupProtocol) -> Result<()> {
        let columns = [
            ("shared_ms", "two share, ms"),
            ("together_ms", "one has all again, ms"),
            ("others_percent", "others %"),
        ];
        let contest = Contest {
            id: format!("group-share-{}", protocol.word()),
            title: format!(
                "a second member comes to {GROUP_PARTITIONS} partitions and leaves, {}, timers as they come",
                protocol.word()
            ),
            columns: columns.map(|(key, head)| Column { key, head }).to_vec(),
            with_redis: false,
        };
        self.contest(contest, &mut |bench| {
            let topic = bench.topic.clone();
            bench.broker.make_topic_of(bench.client, &topic, GROUP_PARTITIONS, Durability::Buffered)?;
            let answer = bench.in_group("group-share", &topic, protocol, GROUP_PARTITIONS.into());
            bench.broker.drop_topic(bench.client, &topic)?;
            let answer = answer?;
            let figure = |name: &str| Ok::<_, anyhow::Error>(answer.figure(name)? / 1e6);
            Ok(Figures::from([
                ("shared_ms", figure("shared_nanos")?),
                ("together_ms", figure("together_nanos")?),
            ]))
        })
    }

    /// One member commits one position after the other.
    ///
    /// # Errors
    /// As [`Stage::produce`].
    pub fn group_commit(&mut self, durability: Durability, commits: u64) -> Result<()> {
        let columns = [
            ("commits_s", "commits/s"),
            ("p50_ms", "p50 ms"),
            ("p99_ms", "p99 ms"),
            ("broker_cpu_us", "broker CPU us/commit"),
            ("others_percent", "others %"),
        ];
        let kafka = match durability {
            Durability::Buffered => "Kafka's as they come, Millrace's synced",
            Durability::Flushed => "all synced",
        };
        let contest = Contest {
            id: format!("group-commit-{}", durability.word()),
            title: format!("{commits} commits, one after the other, {kafka}"),
            columns: columns.map(|(key, head)| Column { key, head }).to_vec(),
            with_redis: false,
        };
        self.contest(contest, &mut |bench| {
            let topic = bench.topic.clone();
            bench.broker.make_topic(bench.client, &topic, durability)?;
            if durability == Durability::Flushed && bench.broker.peer.kind == Kind::Kafka {
                // The topic of commits makes itself with the first one.
                bench.in_group("group-commit", &topic, GroupProtocol::Consumer, 1)?;
                let address = &bench.broker.address;
                bench.client.run(&format!("set {address} __consumer_offsets flush.messages 1"))?;
            }
            let meter = bench.meter();
            let answer = bench.in_group("group-commit", &topic, GroupProtocol::Consumer, commits);
            let spent = meter.broker_seconds();
            bench.broker.drop_topic(bench.client, &topic)?;
            let answer = answer?;
            let figure = |name: &str| Ok::<_, anyhow::Error>(answer.figure(name)? / 1e6);
            Ok(Figures::from([
                ("commits_s", commits as f64 / (figure("nanos")? / 1e3)),
                ("p50_ms", figure("p50_nanos")?),
                ("p99_ms", figure("p99_nanos")?),
                ("broker_cpu_us", spent * 1e6 / commits as f64),
            ]))
        })
    }
}

impl Bench<'_> {
    /// Runs a command of the client about a group that reads the topic.
    fn in_group(
        &mut self,
        command: &str,
        group: &str,
        protocol: GroupProtocol,
        count: u64,
    ) -> Result<Answer> {
        let (address, topic) = (&self.broker.address, &self.topic);
        self.client.run(&format!("{command} {address} {topic} {group} {} {count}", protocol.word()))
    }
}
