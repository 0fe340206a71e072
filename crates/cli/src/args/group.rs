//! `group ...`: the command line of consumer groups.

use std::num::ParseIntError;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use millrace_client::PartitionIndex;

use super::parse_duration;
use crate::position::Place;
use crate::table::ListFormat;

/// `group ...`.
#[derive(Subcommand, Debug)]
pub(crate) enum GroupCommand {
    /// Lists the groups.
    List {
        /// Print it again and again.
        #[command(flatten)]
        watch: WatchArgs,
        /// How to print them.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Describes a group, one row for each member.
    Describe {
        /// The group.
        group: String,
        /// Print it again and again.
        #[command(flatten)]
        watch: WatchArgs,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Tells how far a group is behind, one row for each partition: in records, in seconds, and when it will have caught up.
    Lag {
        /// The group.
        group: String,
        /// Print it again and again.
        #[command(flatten)]
        watch: WatchArgs,
        /// How to print it.
        #[arg(long, value_enum, default_value_t)]
        format: ListFormat,
    },
    /// Moves what a group has committed: back to read again, or forward to leave out.
    ///
    /// All that the group has committed moves, or the topics and partitions named. A group that has members is left alone
    /// unless --force says otherwise: they go on where they are, and their next commit goes over the reset.
    Reset(GroupResetArgs),
    /// Forgets a group that nobody is in, with all that it has committed.
    Delete {
        /// The group.
        group: String,
    },
}

/// How often a table is printed.
#[derive(Args, Debug, Clone, Copy)]
pub(crate) struct WatchArgs {
    /// Print it again and again until Ctrl-C, every two seconds or as often as this says.
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2s",
        value_parser = parse_duration
    )]
    pub(crate) watch: Option<Duration>,
}

/// `group reset`.
#[derive(Args, Debug)]
pub(crate) struct GroupResetArgs {
    /// The group.
    pub(crate) group: String,
    /// Where to.
    #[command(flatten)]
    pub(crate) to: ResetToArgs,
    /// Only this topic, or only these of its partitions; may be repeated.
    #[arg(long = "topic", value_name = "TOPIC[:P,...]")]
    pub(crate) topics: Vec<ChosenTopic>,
    /// Only tell what would be.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also while the group has members.
    #[arg(long)]
    pub(crate) force: bool,
    /// How to print what was moved.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: ListFormat,
}

/// Where a reset goes: one of these.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct ResetToArgs {
    /// To the beginning of each partition.
    #[arg(long)]
    pub(crate) to_earliest: bool,
    /// To the end of each partition as it is now.
    #[arg(long)]
    pub(crate) to_latest: bool,
    /// To an offset, to a time (2013-01-31T12:00:00Z, @MILLIS), or to how long ago (-15m).
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(crate) to: Option<Place>,
    /// By so many records: back if negative.
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) shift: Option<i64>,
}

/// A topic, and some of its partitions or all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ChosenTopic {
    /// The topic.
    pub(crate) topic: String,
    /// None means all.
    pub(crate) partitions: Vec<PartitionIndex>,
}

impl FromStr for ChosenTopic {
    type Err = String;

    fn from_str(text: &str) -> Result<ChosenTopic, String> {
        let (topic, partitions) = match text.split_once(':') {
            None => (text, Ok(Vec::new())),
            Some((topic, list)) => {
                let number = |number: &str| number.parse().map(PartitionIndex);
                (topic, list.split(',').map(number).collect::<Result<_, ParseIntError>>())
            }
        };
        match partitions {
            Ok(partitions) if !topic.is_empty() => Ok(ChosenTopic { topic: topic.to_owned(), partitions }),
            _ => Err(format!("{text:?} is not TOPIC or TOPIC:0,1,2")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_chosen_whole_or_by_partitions() {
        let chosen = |topic: &str, partitions: &[u32]| ChosenTopic {
            topic: topic.to_owned(),
            partitions: partitions.iter().copied().map(PartitionIndex).collect(),
        };
        assert_eq!("orders".parse(), Ok(chosen("orders", &[])));
        assert_eq!("orders:7".parse(), Ok(chosen("orders", &[7])));
        assert_eq!("orders:0,12,3".parse(), Ok(chosen("orders", &[0, 12, 3])));
        for wrong in ["", ":1", "orders:", "orders:1,", "orders:-1", "orders:a"] {
            assert!(wrong.parse::<ChosenTopic>().is_err(), "{wrong}");
        }
    }
}
