//! A group of one client's members, each a process, and what they hold and have read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::record::octets;
use super::{KafkaClient, Talk, Told};

/// What a member wants.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// `classic`, or `consumer` (KIP-848).
    pub protocol: &'static str,
    /// The assignor, as the client calls it; its own choice without one.
    pub assignor: Option<&'static str>,
}

/// What is known of a member.
#[derive(Debug, Clone, Default)]
pub struct Member {
    /// The partitions that it holds.
    pub held: BTreeSet<i64>,
    /// Partition, offset and value of each record that it was given.
    pub read: Vec<(i64, i64, String)>,
    is_gone: bool,
}

/// A group whose members all are the same client.
#[derive(Debug)]
pub struct Group {
    client: KafkaClient,
    bootstrap: String,
    wish: Wish,
    talk: Talk,
    /// Its members, those that have left among them.
    pub members: Vec<Member>,
}

impl Group {
    /// One without members.
    #[must_use]
    pub fn new(client: KafkaClient, bootstrap: &str, wish: Wish) -> Group {
        Group { client, bootstrap: bootstrap.to_owned(), wish, talk: Talk::default(), members: Vec::new() }
    }

    /// One more member: its number.
    pub fn join(&mut self) -> usize {
        let mut command = self.client.command(&["group", &self.bootstrap]);
        let who = self.talk.start(&format!("{} {}", self.client.name, self.members.len()), &mut command);
        let Wish { group, topic, protocol, assignor } = &self.wish;
        let line = json!({ "group": group, "topic": topic, "protocol": protocol, "assignor": assignor });
        self.talk.say(who, &line);
        self.members.push(Member::default());
        who
    }

    /// Waits until that holds of the members.
    ///
    /// # Panics
    /// When a member ends that was not asked to, or all of them are silent for too long.
    pub fn until(&mut self, wanted: &str, holds: impl Fn(&[Member]) -> bool) {
        while !holds(&self.members) {
            let who = self.hear(wanted);
            assert!(!self.members[who].is_gone, "member {who} has ended\n{}", self.talk.complaints());
        }
    }

    /// Asks a member to leave, and waits until it has.
    ///
    /// # Panics
    /// When it fails.
    pub fn leave(&mut self, who: usize) {
        self.talk.hang_up(who);
        while !self.members[who].is_gone {
            self.hear("the end of a member");
        }
        self.talk.end(who);
        self.members[who].held.clear();
    }

    /// The values that members have read, each as often as it was.
    #[must_use]
    pub fn values(&self) -> Vec<&str> {
        self.members.iter().flat_map(|member| &member.read).map(|(_, _, value)| value.as_str()).collect()
    }

    fn hear(&mut self, wanted: &str) -> usize {
        let state: Vec<_> =
            self.members.iter().map(|member| (&member.held, member.read.len(), member.is_gone)).collect();
        let (who, told) = self.talk.hear(&format!("{wanted}, members {state:?}"));
        let member = &mut self.members[who];
        match told {
            Told::Silent => member.is_gone = true,
            Told::Line(line) => match line["assigned"].as_array() {
                Some(held) => member.held = held.iter().filter_map(Value::as_i64).collect(),
                None => member.read.push(record_of(&line)),
            },
        }
        who
    }
}

fn record_of(line: &Value) -> (i64, i64, String) {
    let number = |name: &str| line[name].as_i64().expect("a number");
    let value = octets(&line["value"]).expect("a value");
    (number("partition"), number("offset"), String::from_utf8_lossy(&value).into_owned())
}
