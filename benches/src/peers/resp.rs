//! The load for Redis streams: `XADD` in a pipeline, at a fixed rate, and `XRANGE`, over the protocol RESP.
//!
//! Redis has no client that both sides could share, so this one is ours: it spends less processor time than the Java
//! client, which flatters Redis.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::peers::durability::Durability;
use crate::sample::{latencies, nanos_since};

/// Commands that are written at once.
const CHUNK: u64 = 64;
/// Chunks that are on the way at once; Kafka's producer keeps as many requests.
const CHUNKS_IN_FLIGHT: u64 = 5;
/// Entries that are asked for at once.
const PAGE: u64 = 1000;
const TICK: Duration = Duration::from_millis(1);

struct Connection {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
}

/// What Redis answers.
#[derive(PartialEq, Eq, Debug)]
enum Reply {
    Text(Vec<u8>),
    List(Vec<Reply>),
}

impl Connection {
    fn open(address: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let answers = BufReader::with_capacity(1 << 20, stream.try_clone()?);
        Ok(Connection { stream, answers })
    }

    fn ask(&mut self, words: &[&[u8]]) -> Result<Reply> {
        self.stream.write_all(&command(words))?;
        reply(&mut self.answers)
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn reply(from: &mut impl BufRead) -> Result<Reply> {
    let mut line = String::new();
    ensure!(from.read_line(&mut line)? > 0, "Redis has closed the connection");
    let line = line.trim_end();
    let (kind, rest) = line.split_at_checked(1).context("an empty line")?;
    match kind {
        "+" | ":" => Ok(Reply::Text(rest.as_bytes().to_vec())),
        "$" => {
            let mut text = vec![0; rest.parse::<usize>()? + 2];
            from.read_exact(&mut text)?;
            text.truncate(text.len() - 2);
            Ok(Reply::Text(text))
        }
        "*" => (0..rest.parse::<usize>()?).map(|_| reply(from)).collect::<Result<_>>().map(Reply::List),
        _ => bail!("Redis says {line:?}"),
    }
}

/// `appendfsync` of the whole server.
///
/// # Errors
/// Redis refuses.
pub fn set_durability(address: &str, durability: Durability) -> Result<()> {
    let mode: &[u8] = if durability == Durability::Buffered { b"everysec" } else { b"always" };
    Connection::open(address)?.ask(&[b"CONFIG", b"SET", b"appendfsync", mode]).map(drop)
}

/// Removes a stream.
///
/// # Errors
/// Redis refuses.
pub fn remove(address: &str, stream: &str) -> Result<()> {
    Connection::open(address)?.ask(&[b"DEL", stream.as_bytes()]).map(drop)
}

/// Adds one entry, and returns when it is acknowledged.
///
/// # Errors
/// Redis refuses.
pub fn add_one(address: &str, stream: &str) -> Result<()> {
    Connection::open(address)?.ask(&[b"XADD", stream.as_bytes(), b"*", b"v", &[b'x'; 100]]).map(drop)
}

/// Adds entries as fast as Redis takes them; returns the seconds that it took.
///
/// # Errors
/// Redis refuses one.
pub fn add_all(address: &str, stream: &str, records: u64, size: usize) -> Result<f64> {
    let mut connection = Connection::open(address)?;
    let one = command(&[b"XADD", stream.as_bytes(), b"*", b"v", &vec![b'x'; size]]);
    let chunk = one.repeat(usize::try_from(CHUNK)?);
    let start = Instant::now();
    let chunks = records.div_ceil(CHUNK);
    for sent in 0..chunks + CHUNKS_IN_FLIGHT {
        if sent >= CHUNKS_IN_FLIGHT {
            for _ in 0..CHUNK {
                reply(&mut connection.answers)?;
            }
        }
        if sent < chunks {
            connection.stream.write_all(&chunk)?;
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

/// Adds entries at a fixed rate; each one's latency counts from when it should have been sent. Milliseconds by name.
///
/// # Errors
/// Redis refuses one.
pub fn add_at_rate(address: &str, stream: &str, load: Load) -> Result<BTreeMap<&'static str, f64>> {
    let Connection { stream: mut socket, mut answers } = Connection::open(address)?;
    let one = command(&[b"XADD", stream.as_bytes(), b"*", b"v", &vec![b'x'; load.size]]);
    let (due, times) = mpsc::channel::<(Instant, u64)>();
    let reader = std::thread::spawn(move || -> Result<_> {
        let (mut all, mut seen) = (latencies()?, 0_u64);
        for (intended, count) in times {
            for _ in 0..count {
                reply(&mut answers)?;
                seen += 1;
                // As with the other clients, the first tenth does not count.
                if seen > load.records / 10 {
                    all.record(nanos_since(intended).max(1))?;
                }
            }
        }
        Ok(all)
    });
    let (start, per_tick) = (Instant::now(), load.per_second * u64::try_from(TICK.as_millis())? / 1000);
    let batch = one.repeat(usize::try_from(per_tick)?);
    let mut intended = start;
    for _ in 0..load.records / per_tick {
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        due.send((intended, per_tick)).ok().context("the reader has ended")?;
        socket.write_all(&batch)?;
        intended += TICK;
    }
    drop(due);
    let all = match reader.join() {
        Ok(all) => all?,
        Err(_) => bail!("the reader has ended"),
    };
    let ms = |nanos: u64| Duration::from_nanos(nanos).as_secs_f64() * 1e3;
    Ok(BTreeMap::from([
        ("p50_ms", ms(all.value_at_quantile(0.5))),
        ("p99_ms", ms(all.value_at_quantile(0.99))),
        ("p999_ms", ms(all.value_at_quantile(0.999))),
        ("rate", load.records as f64 / start.elapsed().as_secs_f64()),
    ]))
}

/// A load of a fixed rate.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Records in all.
    pub records: u64,
    /// Bytes of each.
    pub size: usize,
    /// Records in a second.
    pub per_second: u64,
}

/// Reads a stream from its beginning; the bytes of its values and the seconds that it took.
///
/// # Errors
/// Redis refuses, or there is less than that.
pub fn read_all(address: &str, stream: &str, records: u64) -> Result<(u64, f64)> {
    let mut connection = Connection::open(address)?;
    let (start, page) = (Instant::now(), PAGE.to_string());
    let (mut seen, mut bytes, mut from) = (0, 0, b"-".to_vec());
    while seen < records {
        let answer =
            connection.ask(&[b"XRANGE", stream.as_bytes(), &from, b"+", b"COUNT", page.as_bytes()])?;
        let Reply::List(entries) = answer else { bail!("no list") };
        ensure!(!entries.is_empty(), "{seen} entries of {records}");
        for entry in entries {
            let Reply::List(entry) = entry else { bail!("an entry is no list") };
            let [Reply::Text(id), Reply::List(fields)] = entry.as_slice() else { bail!("not an entry") };
            let Some(Reply::Text(value)) = fields.get(1) else { bail!("no value") };
            seen += 1;
            bytes += value.len() as u64;
            from = [b"(", id.as_slice()].concat();
        }
    }
    Ok((bytes, start.elapsed().as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_nest() {
        let mut bytes = &b"*2\r\n$3\r\n1-0\r\n*1\r\n:7\r\n"[..];
        let expected =
            Reply::List(vec![Reply::Text(b"1-0".to_vec()), Reply::List(vec![Reply::Text(b"7".to_vec())])]);
        assert_eq!(reply(&mut bytes).unwrap(), expected);
        assert!(reply(&mut &b"-ERR no\r\n"[..]).is_err());
        assert_eq!(command(&[b"GET", b"k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}
