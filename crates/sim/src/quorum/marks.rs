//! What has happened in the runs: a simulation in which nothing goes wrong shows nothing.

use crate::counted::counted;

counted! {
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
    reshaped: "sets of voters replaced",
    leaders: "leaders seen",
}
