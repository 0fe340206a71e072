//! Where doors listen.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use millrace_env::{Env, Listener};

/// How often another port is tried, when one is free in one family and taken in the other.
const PORT_ATTEMPTS_MAX: usize = 16;

/// Where a door listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listen {
    /// `localhost:PORT`: 127.0.0.1 and, where the machine has it, `::1`, both on one port.
    Loopback(u16),
    /// One address.
    Addr(SocketAddr),
}

impl Listen {
    /// The address, if it can be reached from other machines.
    #[must_use]
    pub fn beyond_loopback(self) -> Option<SocketAddr> {
        match self {
            Listen::Addr(addr) if !addr.ip().to_canonical().is_loopback() => Some(addr),
            _ => None,
        }
    }

    /// Whether it is no address that somebody could dial: all of the machine's.
    pub(crate) fn is_everywhere(self) -> bool {
        matches!(self, Listen::Addr(addr) if addr.ip().is_unspecified())
    }

    /// Opens the listeners. Port 0 picks one port for both families.
    pub(crate) async fn open(self, env: &Env) -> io::Result<Vec<Box<dyn Listener>>> {
        match self {
            Listen::Addr(addr) => Ok(vec![env.net.listen(addr).await?]),
            Listen::Loopback(port) => open_loopback(env, port).await,
        }
    }
}

async fn open_loopback(env: &Env, port: u16) -> io::Result<Vec<Box<dyn Listener>>> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let four = env.net.listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)).await?;
        let picked = four.local_addr()?.port();
        match env.net.listen(SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), picked)).await {
            Ok(six) => return Ok(vec![four, six]),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                if port != 0 || attempts == PORT_ATTEMPTS_MAX {
                    return Err(error);
                }
            }
            // No IPv6 on this machine, or none on its loopback.
            Err(_absent) => return Ok(vec![four]),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Some(port) = text.strip_prefix("localhost:") {
            return port.parse().map(Listen::Loopback).map_err(|e| format!("port: {e}"));
        }
        let hint = "an address is written 127.0.0.1:7070, [::1]:7070 or localhost:7070";
        text.parse().map(Listen::Addr).map_err(|_| hint.to_owned())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Loopback(port) => write!(f, "localhost:{port}"),
            Listen::Addr(addr) => addr.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["localhost:0", "127.0.0.1:7070", "[::1]:7070", "0.0.0.0:65535"] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), text);
        }
        for bad in ["", "7070", "localhost", "localhost:", "localhost:65536", "::1:7070", "example.org:1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_loopback_is_loopback() {
        for (text, beyond) in [
            ("localhost:1", false),
            ("127.0.0.1:1", false),
            ("127.8.9.1:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("192.168.0.1:1", true),
            ("[::ffff:10.0.0.1]:1", true),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().beyond_loopback().is_some(), beyond, "{text}");
        }
    }

    #[tokio::test]
    async fn one_port_is_picked_for_both_families() {
        let env = millrace_env::real::env();
        let listeners = Listen::Loopback(0).open(&env).await.unwrap();
        let ports: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port != 0 && *port == ports[0]), "{ports:?}");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_an_error() {
        let env = millrace_env::real::env();
        let first = Listen::Loopback(0).open(&env).await.unwrap();
        let port = first[0].local_addr().unwrap().port();
        let again = Listen::Loopback(port).open(&env).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}
