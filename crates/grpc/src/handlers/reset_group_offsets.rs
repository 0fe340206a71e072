//! `ResetGroupOffsets`: moves what a group has committed.

use millrace_broker::{ApiError, OffsetReset, ResetGroupRequest, ResetMode, ResetTo, ResetWhile};
use millrace_proto::v1;
use millrace_proto::v1::reset_group_offsets_request::To;
use millrace_types::{Offset, TimestampMs};
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::ResetGroupOffsetsRequest,
) -> Result<v1::ResetGroupOffsetsResponse, Status> {
    let request = reset(request).map_err(status_of)?;
    let resets = api.broker.reset_group(&caller.context, request).await.map_err(status_of)?;
    Ok(v1::ResetGroupOffsetsResponse { offsets: resets.into_iter().map(to_wire).collect() })
}

pub(crate) fn reset(wire: v1::ResetGroupOffsetsRequest) -> Result<ResetGroupRequest, ApiError> {
    parts::check_count(wire.topics.iter().map(|topic| topic.partitions.len().max(1)).sum())?;
    let topics = wire.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| parts::partition(*partition));
        Ok((parts::topic(topic.topic.as_ref())?, partitions.collect::<Result<_, _>>()?))
    });
    let to = match wire.to {
        Some(To::Earliest(_)) => ResetTo::Earliest,
        Some(To::Latest(_)) => ResetTo::Latest,
        Some(To::Offset(offset)) => ResetTo::Offset(parts::offset("offset", offset)?),
        Some(To::TimeMs(time)) => ResetTo::Time(TimestampMs(time.max(0))),
        Some(To::Shift(by)) => ResetTo::Shift(by),
        None => return Err(parts::invalid("the request does not say where the group is to be set")),
    };
    Ok(ResetGroupRequest {
        group: parts::group(&wire.group)?,
        topics: topics.collect::<Result<_, ApiError>>()?,
        to,
        mode: if wire.dry_run { ResetMode::DryRun } else { ResetMode::Apply },
        members: if wire.force { ResetWhile::Forced } else { ResetWhile::Empty },
    })
}

fn to_wire(reset: OffsetReset) -> v1::OffsetReset {
    let (after, error) = match reset.after {
        Ok(offset) => (Some(offset.get()), None),
        Err(error) => (None, Some(error_in_answer(error))),
    };
    v1::OffsetReset {
        topic: Some(parts::topic_to_wire(&reset.topic)),
        partition: reset.partition.get(),
        before: reset.before.map(Offset::get),
        after,
        error,
    }
}
