//! `ListOffsets`: offsets by position or by time.

use millrace_broker::{ApiError, OffsetPoint, OffsetQuery};
use millrace_proto::v1;
use millrace_proto::v1::offset_query::At;
use millrace_types::TimestampMs;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ListOffsetsRequest,
) -> Result<v1::ListOffsetsResponse, Status> {
    parts::check_count(request.queries.len()).map_err(status_of)?;
    let questions = request.queries.iter().map(query).collect();
    let answers = parts::ask_readable(questions, async |queries| {
        api.broker.list_offsets(&caller.context, queries).await
    })
    .await
    .map_err(status_of)?;
    let answers = request.queries.into_iter().zip(answers).map(|(query, answer)| {
        let wire = v1::OffsetAnswer { topic: query.topic, partition: query.partition, ..Default::default() };
        match answer {
            Ok(found) => v1::OffsetAnswer {
                offset: found.offset.map(millrace_types::Offset::get),
                timestamp_ms: found.timestamp.map(|timestamp| timestamp.0),
                ..wire
            },
            Err(error) => v1::OffsetAnswer { error: Some(error_in_answer(error)), ..wire },
        }
    });
    Ok(v1::ListOffsetsResponse { answers: answers.collect() })
}

pub(crate) fn query(wire: &v1::OffsetQuery) -> Result<OffsetQuery, ApiError> {
    let point = match wire.at {
        Some(At::Earliest(_)) => OffsetPoint::Earliest,
        Some(At::Latest(_)) => OffsetPoint::Latest,
        // A reader who asks from before 1970 means: from the beginning of time.
        Some(At::TimestampMs(time)) => OffsetPoint::Time(TimestampMs(time.max(0))),
        Some(At::LargestTimestamp(_)) => OffsetPoint::LargestTimestamp,
        None => return Err(parts::invalid("the query does not say which offset it wants")),
    };
    let topic = parts::topic(wire.topic.as_ref())?;
    Ok(OffsetQuery { topic, partition: parts::partition(wire.partition)?, point, leader_epoch: None })
}
