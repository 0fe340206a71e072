//! Where the brokers listen. Those by which they find each other must be the same ones next time: they are written down.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, bail};
use millrace_env::{Env, FsExt};
use serde::{Deserialize, Serialize};

use super::NODES;
use crate::args::DevClusterArgs;
use crate::exit::Usage;

/// What is remembered, in the directory of the cluster.
const FILE: &str = "dev-cluster.json";
/// More than it ever has.
const FILE_BYTES_MAX: usize = 4096;

/// What a directory remembers of its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// Where the brokers talk to each other, by node.
    internal: [u16; NODES],
    /// Whether all three were up once: a first node without files joins the others then, and founds nothing.
    pub(super) founded: bool,
}

impl Remembered {
    /// What the directory remembers, or what it will: the ports are settled here.
    ///
    /// # Errors
    /// The operating system's, or a file that is not ours.
    pub(super) async fn of(env: &Env, dir: &Path, internal_port: u16) -> anyhow::Result<Remembered> {
        let path = dir.join(FILE);
        let before = match env.fs.read_small(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Some(parse(&bytes).with_context(|| path.display().to_string())?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let internal = match (in_a_row(internal_port), &before) {
            (Some(ports), _) => ports,
            (None, Some(before)) => before.internal,
            (None, None) => pick(env).await.context("no ports can be picked")?,
        };
        let remembered = Remembered { internal, founded: before.is_some_and(|before| before.founded) };
        remembered.write(env, dir)?;
        Ok(remembered)
    }

    /// Writes it down.
    ///
    /// # Errors
    /// The operating system's.
    pub(super) fn write(&self, env: &Env, dir: &Path) -> anyhow::Result<()> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec(self)?;
        env.fs.replace(&path, &text).with_context(|| path.display().to_string())
    }

    /// Where a node talks to the others.
    pub(super) fn internal(&self, index: usize) -> Option<SocketAddr> {
        self.internal.get(index).copied().map(loopback)
    }

    /// Where the others do, as `--join` takes it; `None` for the founder of a cluster that is not there yet.
    pub(super) fn join(&self, index: usize) -> Option<String> {
        if index == 0 && !self.founded {
            return None;
        }
        let others = self.internal.iter().enumerate().filter(|(other, _)| *other != index);
        let addresses: Vec<_> = others.map(|(_, port)| loopback(*port).to_string()).collect();
        Some(addresses.join(","))
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Remembered> {
    let remembered: Remembered =
        serde_json::from_slice(bytes).context("it is not what dev-cluster has written")?;
    if remembered.internal.contains(&0) {
        bail!("port 0 is none");
    }
    Ok(remembered)
}

/// The ports of the nodes, from a base; `None` if they are to be picked.
fn in_a_row(base: u16) -> Option<[u16; NODES]> {
    if base == 0 {
        return None;
    }
    let mut ports = [0; NODES];
    for (port, number) in ports.iter_mut().zip(base..) {
        *port = number;
    }
    Some(ports)
}

/// Ports that are free now. All are held until all are found, so that none is found twice.
async fn pick(env: &Env) -> io::Result<[u16; NODES]> {
    let mut ports = [0; NODES];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = env.net.listen(loopback(0)).await?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// A door of a node; port 0 if the broker is to pick it.
pub(super) fn door(base: u16, index: usize) -> SocketAddr {
    let ports = in_a_row(base).unwrap_or_default();
    loopback(ports.get(index).copied().unwrap_or_default())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Refuses doors that would take each other's ports.
///
/// # Errors
/// Which ones.
pub(super) fn check(args: &DevClusterArgs) -> Result<(), Usage> {
    let doors = [
        ("--grpc-port", args.grpc_port),
        ("--kafka-port", args.kafka_port),
        ("--http-port", args.http_port),
        ("--internal-port", args.internal_port),
    ];
    let given: Vec<_> = doors.into_iter().filter(|(_, base)| *base != 0).collect();
    for (index, (name, base)) in given.iter().enumerate() {
        for (other, theirs) in given.iter().skip(index + 1) {
            if usize::from(base.abs_diff(*theirs)) < NODES {
                let text = format!("{name} {base} and {other} {theirs} overlap: each takes {NODES} ports");
                return Err(Usage(text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_founder_joins_nobody_until_all_were_up_once() {
        let mut remembered = Remembered { internal: [1, 2, 3], founded: false };
        assert_eq!(remembered.join(0), None);
        assert_eq!(remembered.join(1).as_deref(), Some("127.0.0.1:1,127.0.0.1:3"));
        remembered.founded = true;
        assert_eq!(remembered.join(0).as_deref(), Some("127.0.0.1:2,127.0.0.1:3"));
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let remembered = Remembered { internal: [7, 8, 9], founded: true };
        let bytes = serde_json::to_vec(&remembered).unwrap();
        assert_eq!(parse(&bytes).unwrap(), remembered);
        for cut in 0..bytes.len() {
            assert!(parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(parse(br#"{"internal":[0,1,2],"founded":true}"#).is_err());
    }

    #[test]
    fn ports_follow_their_base() {
        assert_eq!(door(7070, 2).port(), 7072);
        assert_eq!(door(65_533, 2).port(), 65_535);
        assert_eq!(door(0, 2).port(), 0);
    }
}
