//! The flights that the demo streams, carried in the binary.

use std::io::Read;

use anyhow::Context;
use flate2::read::GzDecoder;

use crate::input::{CsvColumns, CsvRows, InputRecord};

/// 80,789 flights from New York City, January to March 2013; `crates/cli/data/README.md` tells where they come from.
const FLIGHTS: &[u8] = include_bytes!("../../data/flights-2013-q1.csv.gz");
/// The aeroplane: flights of one aeroplane stay in order, because they share a partition.
const KEY_COLUMN: &str = "tailnum";
/// When the flight was due, to the hour.
const TIME_COLUMN: &str = "time_hour";

/// Every flight, in the order of the file.
///
/// # Errors
/// Only if the binary was built with broken data.
pub(super) fn flights() -> anyhow::Result<Vec<InputRecord>> {
    let mut csv = Vec::new();
    GzDecoder::new(FLIGHTS).read_to_end(&mut csv).context("the demo's data cannot be unpacked")?;
    let columns = CsvColumns { key: Some(KEY_COLUMN.to_owned()), time: Some(TIME_COLUMN.to_owned()) };
    let rows = CsvRows::new(csv.as_slice(), &columns)?;
    rows.collect::<Result<_, _>>().context("the demo's data cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flight_has_a_time_and_rows_are_as_in_the_file() {
        let flights = flights().unwrap();
        assert_eq!(flights.len(), 80_789);
        assert!(flights.iter().all(|flight| flight.timestamp.is_some() && flight.key.is_some()));
        let first = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z";
        assert_eq!(flights[0].value, Some(first.into()));
    }
}
