//! The keys of the configuration: one closed list for the file, the environment and the flags.

use std::fmt;

use super::Origin;

macro_rules! keys {
    ($($name:ident = $text:literal, $default:literal, $status:ident, $about:literal;)*) => {
        /// A key of the configuration.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Key {
            $(#[doc = $about] $name,)*
        }

        impl Key {
            /// Every key.
            pub const ALL: &'static [Key] = &[$(Key::$name,)*];

            /// As it stands in the file.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Key::$name => $text,)* }
            }

            /// The value where nobody sets one; empty if there is none.
            #[must_use]
            pub const fn default_value(self) -> &'static str {
                match self { $(Key::$name => $default,)* }
            }

            /// One sentence for help texts.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Key::$name => $about,)* }
            }

            /// Whether what the key configures is built.
            #[must_use]
            pub const fn status(self) -> KeyStatus {
                match self { $(Key::$name => KeyStatus::$status,)* }
            }
        }
    };
}

/// What becomes of a key that is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyStatus {
    /// It is enforced.
    Enforced,
    /// What it configures is not there yet: setting it is an error.
    NotThereYet,
}

keys! {
    DataDir = "data_dir", "./millrace-data", Enforced, "The directory that holds everything.";
    Grpc = "grpc", "localhost:7070", Enforced, "Where the native door listens.";
    Http = "http", "localhost:7080", Enforced, "Where health and metrics are served.";
    GrpcAdvertised = "grpc_advertised", "", Enforced, "What clients are told to connect to, as host:port; without it, where the native door listens.";
    Internal = "internal", "", Enforced, "Where this broker talks to the others of its cluster; without it, it is alone.";
    InternalAdvertised = "internal_advertised", "", Enforced, "What the other brokers are told to connect to, as host:port; without it, where the internal door listens.";
    Join = "join", "", Enforced, "Internal addresses of brokers of the cluster to join, with commas between them; without any, a broker whose directory knows no cluster founds one.";
    Kafka = "kafka", "localhost:9092", Enforced, "Where the Kafka door listens.";
    KafkaAdvertised = "kafka_advertised", "", Enforced, "What Kafka clients are told to connect to, as host:port; without it, the address that they have reached.";
    AutoCreateTopics = "auto.create.topics.enable", "true", Enforced, "Whether a topic that a Kafka client asks for is made.";
    NumPartitions = "num.partitions", "1", Enforced, "How many partitions a topic gets from the Kafka door that leaves it open.";
    Amqp = "amqp", "", NotThereYet, "Where the AMQP door listens.";
    NodeId = "node_id", "1", Enforced, "This node's number, from 1.";
    MemoryBudget = "memory_budget", "512MiB", Enforced, "What requests, answers and caches may hold together.";
    OffsetsRetentionMinutes = "offsets.retention.minutes", "10080", Enforced, "How long committed offsets are kept once nobody reads by them.";
    GroupSessionTimeoutMs = "group.consumer.session.timeout.ms", "10000", Enforced, "How long a member of a group may be silent before its partitions go to others.";
    GroupInitialDelayMs = "group.initial.rebalance.delay.ms", "3000", Enforced, "How long a group whose members assign each other waits for more members before its first generation.";
    DrainTimeout = "drain_timeout", "30s", Enforced, "How long a stop lets requests in flight end.";
    InsecureListen = "insecure_listen", "false", Enforced, "Whether doors may listen beyond loopback without TLS and authentication.";
    LogLevel = "log_level", "info", Enforced, "How much is logged: error, warn, info, debug, trace, or a filter such as `info,millrace_log=debug`.";
    LogFormat = "log_format", "auto", Enforced, "How the log looks: human, json, or auto (human on a terminal).";
}

impl Key {
    /// The key of a name in the file.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Key> {
        Key::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// The name of its environment variable: `MILLRACE_` and the name in capitals, `_` for `.`.
    #[must_use]
    pub fn variable(self) -> String {
        format!("MILLRACE_{}", self.name().to_ascii_uppercase().replace('.', "_"))
    }

    /// How whoever set the key has written it: the flag, the variable, or the key in the file.
    #[must_use]
    pub fn as_written_in(self, origin: Origin) -> String {
        match origin {
            Origin::Flag => format!("--{}", self.name().replace(['_', '.'], "-")),
            Origin::Environment => self.variable(),
            Origin::File | Origin::Default => self.name().to_owned(),
        }
    }

    /// The key of an environment variable.
    #[must_use]
    pub fn of_variable(variable: &str) -> Option<Key> {
        Key::ALL.iter().copied().find(|key| key.variable() == variable)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
