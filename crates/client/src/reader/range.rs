//! Where reading begins and ends; times and ends become offsets once, at the start.

use std::sync::Arc;

use millrace_types::{Offset, PartitionIndex, TimestampMs};

use super::ReadError;
use crate::backoff::Backoff;
use crate::metadata::TopicInfo;
use crate::{Client, ClientError, OffsetAt, OffsetQuery};

/// Where reading begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Position {
    /// At the first readable record.
    #[default]
    Beginning,
    /// Behind the last readable record at the start.
    End,
    /// At that offset.
    Offset(Offset),
    /// At the first record at or after that time; at the end if there is none.
    Time(TimestampMs),
}

/// Where reading ends. The bound itself is not read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Until {
    /// Nowhere: records that are yet to come are waited for.
    #[default]
    Forever,
    /// Behind the last readable record at the start.
    EndAtStart,
    /// Before that offset, which may be yet to come.
    Offset(Offset),
    /// Before the first record at or after that time; at the end as it stands at the start if there is none.
    Time(TimestampMs),
}

/// A partition that is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: Arc<TopicInfo>,
    pub(crate) partition: PartitionIndex,
    pub(crate) from: Position,
    pub(crate) until: Until,
}

/// The offsets of what is wanted: where it begins, and where it ends if it does.
pub(crate) async fn resolve(
    client: &Client,
    wanted: &[Wanted],
) -> Result<Vec<(Offset, Option<Offset>)>, ReadError> {
    let points = |wanted: &Wanted| [start_point(wanted.from), end_point(wanted.until)];
    let mut queries = Vec::new();
    for wanted in wanted {
        for at in points(wanted).into_iter().flatten() {
            queries.push(query(wanted, at));
            if matches!(at, OffsetAt::Time(_)) {
                // Asked together with the time, because it is the answer where no record is that late.
                queries.push(query(wanted, OffsetAt::Latest));
            }
        }
    }
    let mut found = ask(client, &queries).await.map_err(ReadError::Start)?.into_iter();
    let mut take = |at: Option<OffsetAt>| {
        let at = at?;
        let first = found.next().flatten();
        if matches!(at, OffsetAt::Time(_)) { first.or(found.next().flatten()) } else { first }
    };
    let resolved = wanted.iter().map(|wanted| {
        let from = take(start_point(wanted.from));
        let until = take(end_point(wanted.until));
        (resolved_start(wanted.from, from), resolved_end(wanted.until, until))
    });
    Ok(resolved.collect())
}

fn query(wanted: &Wanted, at: OffsetAt) -> OffsetQuery {
    OffsetQuery { topic: wanted.topic.name.to_string(), partition: wanted.partition, at }
}

/// What has to be asked to know the start.
fn start_point(from: Position) -> Option<OffsetAt> {
    match from {
        Position::Beginning => Some(OffsetAt::Earliest),
        Position::End => Some(OffsetAt::Latest),
        Position::Time(time) => Some(OffsetAt::Time(time)),
        Position::Offset(_) => None,
    }
}

/// What has to be asked to know the end.
fn end_point(until: Until) -> Option<OffsetAt> {
    match until {
        Until::EndAtStart => Some(OffsetAt::Latest),
        Until::Time(time) => Some(OffsetAt::Time(time)),
        Until::Forever | Until::Offset(_) => None,
    }
}

fn resolved_start(from: Position, found: Option<Offset>) -> Offset {
    match from {
        Position::Offset(offset) => offset,
        _ => found.unwrap_or(Offset::ZERO),
    }
}

fn resolved_end(until: Until, found: Option<Offset>) -> Option<Offset> {
    match until {
        Until::Forever => None,
        Until::Offset(offset) => Some(offset),
        // An empty log has no offset to tell: it ends where it begins.
        Until::EndAtStart | Until::Time(_) => Some(found.unwrap_or(Offset::ZERO)),
    }
}

/// Asks until every partition has answered, or the request timeout is over.
pub(crate) async fn ask(
    client: &Client,
    queries: &[OffsetQuery],
) -> Result<Vec<Option<Offset>>, ClientError> {
    if queries.is_empty() {
        return Ok(Vec::new());
    }
    let clock = &client.env().clock;
    let deadline = clock.monotonic().after(client.options().request_timeout);
    let mut backoff = Backoff::new(client.options());
    loop {
        let answers = client.admin().list_offsets(queries).await?;
        let offsets: Result<Vec<_>, _> = answers.into_iter().map(|answer| answer.map(|a| a.offset)).collect();
        let refusal = match offsets {
            Ok(offsets) => return Ok(offsets),
            Err(refusal) => refusal,
        };
        let pause = backoff.next(&*client.env().rng);
        if !refusal.is_retriable || clock.monotonic().after(pause) >= deadline {
            return Err(ClientError::Refused(refusal));
        }
        clock.sleep(pause).await;
    }
}
