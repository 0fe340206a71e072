//! What has happened in the runs: a simulation in which nothing goes wrong shows nothing.

use std::fmt;

macro_rules! marks {
    ($($name:ident: $text:literal,)+) => {
        /// How often each thing happened.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[expect(missing_docs, reason = "each is told in words by `Display`")]
        pub struct Marks {
            $(pub $name: u64,)+
        }

        impl Marks {
            /// Adds those of another run.
            pub fn add(&mut self, other: &Marks) {
                $(self.$name += other.$name;)+
            }

            /// What never happened.
            #[must_use]
            pub fn never(&self) -> Vec<&'static str> {
                let mut never = Vec::new();
                $(if self.$name == 0 { never.push($text); })+
                never
            }
        }

        impl fmt::Display for Marks {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(write!(f, "{} {}, ", self.$name, $text)?;)+
                write!(f, "nothing else counted")
            }
        }
    };
}

marks! {
    acknowledged: "proposals acknowledged",
    refused: "proposals refused for certain",
    unknown: "proposals of which nobody knows",
    reads: "linearizable reads",
    votes: "votes given",
    appends: "appends acknowledged",
    conflicts: "appends in conflict",
    snapshots: "snapshots installed",
    lost: "messages lost",
    repeated: "messages repeated",
    cuts: "links cut",
    kills: "processes killed",
    power_cuts: "power cuts",
    power_cuts_in_syncs: "power cuts in the middle of a sync",
    power_cuts_of_all: "power cuts of all nodes",
    restarts: "nodes started again",
    purges: "logs purged",
    leaders: "leaders seen",
}
