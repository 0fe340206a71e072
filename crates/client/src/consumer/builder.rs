//! How a consumer is set up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use millrace_proto::v1;
use millrace_types::limits::{
    FETCH_BYTES_MAX, FETCH_WAIT_MS_MAX, INSTANCE_ID_BYTES_MAX, PATTERN_BYTES_MAX, RACK_ID_BYTES_MAX,
    REBALANCE_TIMEOUT_MS_DEFAULT, REBALANCE_TIMEOUT_MS_MAX, SUBSCRIBED_NAMES_MAX,
};
use millrace_types::{GroupId, TopicName};
use tokio::sync::{Mutex, mpsc};

use super::callbacks::{RebalanceCallbacks, Silent};
use super::commits::{Committer, ORDERS_MAX};
use super::driver::Driver;
use super::fetcher::Fetcher;
use super::handle::ConsumerHandle;
use super::starts::Starts;
use super::state::{Membership, Shared};
use super::steps::Steps;
use super::{ConsumeError, Consumer};
use crate::reader::{Asking, FetchRules, OnOutOfRange, PREFETCH_BYTES_MAX, Position};
use crate::{Client, ClientError};

/// The shortest rebalance timeout: less is over before anybody could answer.
const REBALANCE_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// Who decides which member is to own what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupAssignor {
    /// Even over all topics together.
    Uniform,
    /// Neighbouring partitions, topic by topic.
    Range,
    /// Even, and as few moves as possible.
    Sticky,
    /// Even, and near to replicas.
    Rack,
}

impl GroupAssignor {
    fn name(self) -> &'static str {
        match self {
            GroupAssignor::Uniform => "uniform",
            GroupAssignor::Range => "range",
            GroupAssignor::Sticky => "sticky",
            GroupAssignor::Rack => "rack",
        }
    }
}

/// Which records of transactions are handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ReadIsolation {
    /// All that is committed to the log: up to the high watermark.
    #[default]
    Committed,
    /// Only up to where no transaction is open. The same as long as there are no transactions.
    Stable,
}

/// What the membership needs to know.
#[derive(Clone, Debug)]
pub(super) struct GroupOptions {
    pub(super) group: String,
    pub(super) auto_commit: Option<Duration>,
    pub(super) rebalance_timeout: Duration,
    topics: BTreeSet<String>,
    pattern: Option<String>,
    instance: Option<String>,
    rack: Option<String>,
    assignor: Option<GroupAssignor>,
}

impl GroupOptions {
    /// What a member says when it comes.
    pub(super) fn join(&self, member: &str, resume: Option<v1::MemberProgress>) -> v1::JoinGroup {
        v1::JoinGroup {
            group: self.group.clone(),
            member: member.to_owned(),
            instance: self.instance.clone(),
            rack: self.rack.clone(),
            subscription: Some(v1::GroupSubscription {
                topics: self.topics.iter().cloned().collect(),
                pattern: self.pattern.clone(),
            }),
            assignor: self.assignor.map(|assignor| assignor.name().to_owned()),
            rebalance_timeout_ms: u32::try_from(self.rebalance_timeout.as_millis()).unwrap_or(u32::MAX),
            resume,
        }
    }
}

/// Sets up a [`Consumer`]. Made by [`Client::consumer`].
pub struct ConsumerBuilder {
    client: Client,
    options: GroupOptions,
    from: Position,
    isolation: ReadIsolation,
    rules: FetchRules,
    poll_records_max: usize,
    callbacks: Box<dyn RebalanceCallbacks>,
}

impl std::fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsumerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, group: String) -> ConsumerBuilder {
        ConsumerBuilder {
            client,
            options: GroupOptions {
                group,
                auto_commit: Some(Duration::from_secs(5)),
                rebalance_timeout: Duration::from_millis(REBALANCE_TIMEOUT_MS_DEFAULT),
                topics: BTreeSet::new(),
                pattern: None,
                instance: None,
                rack: None,
                assignor: None,
            },
            from: Position::Beginning,
            isolation: ReadIsolation::Committed,
            rules: FetchRules {
                asking: Asking::Fetch,
                fetch_bytes: 4 * 1024 * 1024,
                prefetch_bytes: 16 * 1024 * 1024,
                wait_max: Duration::from_secs(5),
                on_out_of_range: OnOutOfRange::Earliest,
                give_up_after: None,
            },
            poll_records_max: 500,
            callbacks: Box::new(Silent),
        }
    }

    /// Reads a topic, which need not exist yet. May be repeated.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> ConsumerBuilder {
        self.options.topics.insert(name.into());
        self
    }

    /// Reads all topics, also those to come, whose whole name this regular expression matches (the syntax of Rust's `regex`: no
    /// look-around, no back references).
    #[must_use]
    pub fn pattern(mut self, pattern: impl Into<String>) -> ConsumerBuilder {
        self.options.pattern = Some(pattern.into());
        self
    }

    /// Makes it a static member: a consumer that comes back under this name within the session timeout finds its partitions
    /// waiting for it. No two consumers of a group may live under one name at a time; the newer one wins.
    #[must_use]
    pub fn instance_id(mut self, name: impl Into<String>) -> ConsumerBuilder {
        self.options.instance = Some(name.into());
        self
    }

    /// Where the consumer stands, for [`GroupAssignor::Rack`].
    #[must_use]
    pub fn rack(mut self, rack: impl Into<String>) -> ConsumerBuilder {
        self.options.rack = Some(rack.into());
        self
    }

    /// Whom it wants to assign. The majority of the members that say decides; otherwise the broker.
    #[must_use]
    pub fn assignor(mut self, assignor: GroupAssignor) -> ConsumerBuilder {
        self.options.assignor = Some(assignor);
        self
    }

    /// How long it may take to let go of partitions: the time for the application to come back for records, and for
    /// [`RebalanceCallbacks::revoked`]. 5 min.
    #[must_use]
    pub fn rebalance_timeout(mut self, timeout: Duration) -> ConsumerBuilder {
        self.options.rebalance_timeout = timeout;
        self
    }

    /// How often is committed what earlier polls handed out. 5 s. It is committed also when partitions go to others and when
    /// the consumer is closed.
    #[must_use]
    pub fn auto_commit(mut self, interval: Duration) -> ConsumerBuilder {
        self.options.auto_commit = Some(interval);
        self
    }

    /// Commits nothing by itself.
    #[must_use]
    pub fn manual_commit(mut self) -> ConsumerBuilder {
        self.options.auto_commit = None;
        self
    }

    /// Where to begin in partitions for which the group has committed nothing. [`Position::Beginning`].
    #[must_use]
    pub fn from(mut self, from: Position) -> ConsumerBuilder {
        self.from = from;
        self
    }

    /// Which records of transactions are handed out. [`ReadIsolation::Committed`].
    #[must_use]
    pub fn isolation(mut self, isolation: ReadIsolation) -> ConsumerBuilder {
        self.isolation = isolation;
        self
    }

    /// What happens when a partition does not hold the next offset any more. [`OnOutOfRange::Earliest`].
    #[must_use]
    pub fn on_out_of_range(mut self, rule: OnOutOfRange) -> ConsumerBuilder {
        self.rules.on_out_of_range = rule;
        self
    }

    /// The most bytes of one fetch, unless a single batch is larger. 4 MiB.
    #[must_use]
    pub fn fetch_bytes(mut self, bytes: usize) -> ConsumerBuilder {
        self.rules.fetch_bytes = bytes;
        self
    }

    /// Memory for what was fetched and not handed out yet, in bytes as stored; raised to the size of one fetch. 16 MiB.
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: usize) -> ConsumerBuilder {
        self.rules.prefetch_bytes = bytes;
        self
    }

    /// How long a fetch waits at the broker for records to come. 5 s. Records that come are answered at once.
    #[must_use]
    pub fn wait_max(mut self, wait: Duration) -> ConsumerBuilder {
        self.rules.wait_max = wait;
        self
    }

    /// The most records of one [`Consumer::poll`]. 500.
    #[must_use]
    pub fn poll_records_max(mut self, records: usize) -> ConsumerBuilder {
        self.poll_records_max = records;
        self
    }

    /// Who is told when partitions come and go.
    #[must_use]
    pub fn callbacks(mut self, callbacks: impl RebalanceCallbacks + 'static) -> ConsumerBuilder {
        self.callbacks = Box::new(callbacks);
        self
    }

    /// Joins the group; returns when the consumer is a member. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ConsumeError`]: an option, what the broker refused, or that no broker answered within
    /// [`crate::ClientOptions::request_timeout`].
    pub async fn start(self) -> Result<Consumer, ConsumeError> {
        let rules = self.checked()?;
        let ConsumerBuilder { client, options, from, isolation, poll_records_max, callbacks, .. } = self;
        let shared = Arc::new(Shared::new());
        let (orders, receive) = mpsc::channel(ORDERS_MAX);
        let handle = ConsumerHandle::new(client.clone(), &options.group, Arc::clone(&shared), orders);
        let (group, instance) = (options.group.clone(), options.instance.clone());
        let committer = Committer {
            client: client.clone(),
            group: group.clone(),
            instance: instance.clone(),
            shared: Arc::clone(&shared),
            orders: receive,
        };
        let starts =
            Starts { client: client.clone(), group, instance, shared: Arc::clone(&shared), otherwise: from };
        let isolation = match isolation {
            ReadIsolation::Committed => v1::Isolation::Committed,
            ReadIsolation::Stable => v1::Isolation::Stable,
        };
        let fetcher = Fetcher::new(rules, isolation, starts);
        let steps = Steps {
            group: handle.clone(),
            callbacks: Arc::new(Mutex::new(callbacks)),
            commits_automatically: options.auto_commit.is_some(),
        };
        let is_static = options.instance.is_some();
        let driver = Driver::new(steps, options);
        let tasks = &client.env().tasks;
        let tasks = vec![
            tasks.spawn("group commits", Box::pin(committer.run())),
            tasks.spawn("group reads", Box::pin(fetcher.run())),
            tasks.spawn("group membership", Box::pin(driver.run())),
        ];
        let consumer = Consumer::new(handle, tasks, poll_records_max, is_static);
        joined(&client, &shared, consumer.group()).await?;
        Ok(consumer)
    }

    fn checked(&self) -> Result<FetchRules, ConsumeError> {
        let refuse = |option, reason: String| Err(ConsumeError::Config { option, reason });
        let options = &self.options;
        if let Err(error) = GroupId::new(&options.group) {
            return refuse("group", error.to_string());
        }
        if options.topics.is_empty() && options.pattern.is_none() {
            return refuse("topic", "there is nothing to read".to_owned());
        }
        if options.topics.len() > SUBSCRIBED_NAMES_MAX {
            return refuse("topic", format!("more than {SUBSCRIBED_NAMES_MAX} names"));
        }
        for name in &options.topics {
            if let Err(error) = TopicName::new(name) {
                return refuse("topic", format!("{name:?}: {error}"));
            }
        }
        let texts = [
            ("pattern", &options.pattern, PATTERN_BYTES_MAX),
            ("instance_id", &options.instance, INSTANCE_ID_BYTES_MAX),
            ("rack", &options.rack, RACK_ID_BYTES_MAX),
        ];
        for (option, text, max) in texts {
            if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > max) {
                return refuse(option, format!("not of 1 to {max} bytes"));
            }
        }
        let longest = Duration::from_millis(REBALANCE_TIMEOUT_MS_MAX);
        if !(REBALANCE_TIMEOUT_MIN..=longest).contains(&options.rebalance_timeout) {
            return refuse("rebalance_timeout", "not of 1 s to 2 h".to_owned());
        }
        if options.auto_commit.is_some_and(|interval| interval.is_zero()) {
            return refuse("auto_commit", "an interval of nothing".to_owned());
        }
        let mut rules = self.rules;
        if rules.fetch_bytes == 0 || rules.fetch_bytes > FETCH_BYTES_MAX {
            return refuse("fetch_bytes", "not in 1..=64 MiB".to_owned());
        }
        if rules.prefetch_bytes > PREFETCH_BYTES_MAX {
            return refuse("prefetch_bytes", "more than 4 GiB".to_owned());
        }
        if rules.wait_max.as_millis() > u128::from(FETCH_WAIT_MS_MAX) {
            return refuse("wait_max", "longer than 60 s".to_owned());
        }
        if self.poll_records_max == 0 {
            return refuse("poll_records_max", "no records".to_owned());
        }
        rules.prefetch_bytes = rules.prefetch_bytes.max(rules.fetch_bytes);
        Ok(rules)
    }
}

/// Completes when the consumer is a member.
async fn joined(client: &Client, shared: &Shared, group: &str) -> Result<(), ConsumeError> {
    let mut membership = shared.membership.subscribe();
    let limit = client.options().request_timeout;
    let settled = membership.wait_for(|membership| *membership != Membership::Joining);
    let error = tokio::select! {
        biased;
        settled = settled => match settled.map(|membership| membership.clone()) {
            Ok(Membership::In(_)) => return Ok(()),
            Ok(Membership::Over(Some(error))) => error,
            _ => ClientError::Answer("the consumer has ended".to_owned()),
        },
        () = client.env().clock.sleep(limit) => {
            let trouble = shared.lock().trouble.take();
            trouble.unwrap_or_else(|| ClientError::TimedOut { server: client.home(), after: limit })
        }
    };
    Err(ConsumeError::Membership { group: group.to_owned(), error })
}
