//! How a person writes a place in a log: an offset, a time, or how long ago.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use millrace_types::{Offset, TimestampMs};

/// A place in a partition.
///
/// `1200` is an offset; `2013-01-31T12:00:00Z`, `@1359633600000` and `-15m` are times; `beginning` and `end` are the
/// first record and the end as it stands at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// The first record there is.
    Beginning,
    /// The end of the partition at start.
    End,
    /// This offset.
    Offset(Offset),
    /// The first record at or after this time.
    Time(TimestampMs),
    /// So long before now.
    Ago(Duration),
}

/// A place that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no place in a log: write an offset (1200), a time (2013-01-31T12:00:00Z or @1359633600000), how long \
     ago (-15m), `beginning` or `end`"
)]
pub(crate) struct PlaceError(String);

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        parse(text).ok_or_else(|| PlaceError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Place> {
    if text == "beginning" {
        return Some(Place::Beginning);
    }
    if text == "end" {
        return Some(Place::End);
    }
    if let Some(millis) = text.strip_prefix('@') {
        return millis.parse().ok().filter(|ms| *ms >= 0).map(|ms| Place::Time(TimestampMs(ms)));
    }
    if let Some(duration) = text.strip_prefix('-') {
        return humantime::parse_duration(duration).ok().map(Place::Ago);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().and_then(Offset::new).map(Place::Offset);
    }
    parse_time(text).map(Place::Time)
}

/// Reads an RFC 3339 time.
pub(crate) fn parse_time(text: &str) -> Option<TimestampMs> {
    text.parse::<jiff::Timestamp>().ok().map(|time| TimestampMs(time.as_millisecond()))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Beginning => f.write_str("beginning"),
            Place::End => f.write_str("end"),
            Place::Offset(offset) => offset.fmt(f),
            Place::Time(time) => write!(f, "@{time}"),
            Place::Ago(ago) => write!(f, "-{}", humantime::format_duration(*ago)),
        }
    }
}

impl Place {
    /// Turns "so long ago" into a time.
    pub(crate) fn resolved(self, now: TimestampMs) -> Place {
        match self {
            Place::Ago(ago) => {
                let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                Place::Time(TimestampMs(now.0.saturating_sub(ago_ms).max(0)))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_write_a_place_is_read() {
        let offset = |n| Place::Offset(Offset::from_count(n));
        let cases = [
            ("1200", offset(1200)),
            ("0", offset(0)),
            ("2013-01-31T12:00:00Z", Place::Time(TimestampMs(1_359_633_600_000))),
            ("2013-01-31T13:00:00+01:00", Place::Time(TimestampMs(1_359_633_600_000))),
            ("@1359633600000", Place::Time(TimestampMs(1_359_633_600_000))),
            ("-15m", Place::Ago(Duration::from_secs(900))),
            ("beginning", Place::Beginning),
            ("end", Place::End),
        ];
        for (text, place) in cases {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_and_named() {
        for text in ["", "-", "yesterday", "12x", "@-5", "-15", "2013-13-01T00:00:00Z", "9999999999999999999"]
        {
            let refused = text.parse::<Place>();
            assert_eq!(refused, Err(PlaceError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn ago_counts_from_now() {
        let place = Place::Ago(Duration::from_secs(1)).resolved(TimestampMs(5_000));
        assert_eq!(place, Place::Time(TimestampMs(4_000)));
    }
}
