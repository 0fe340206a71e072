//! `GroupLag`: how far a group is behind in each partition.

use millrace_broker::PartitionLag;
use millrace_proto::v1;
use millrace_types::Offset;
use tonic::Status;

use crate::caller::Caller;
use crate::error_map::{error_in_answer, status_of};
use crate::parts;
use crate::service::Api;

pub(crate) async fn handle(
    api: &Api,
    caller: &Caller,
    request: v1::GroupLagRequest,
) -> Result<v1::GroupLagResponse, Status> {
    let group = parts::group(&request.group).map_err(status_of)?;
    let lags = api.broker.group_lag(&caller.context, &group).await.map_err(status_of)?;
    let answer = v1::GroupLagResponse { partitions: lags.into_iter().map(to_wire).collect() };
    api.pay_for(caller, &answer).await?;
    Ok(answer)
}

fn to_wire(lag: PartitionLag) -> v1::PartitionLag {
    let (member, client_id) =
        lag.owner.map(|owner| (owner.member.to_string(), owner.client_id)).unwrap_or_default();
    let wire = v1::PartitionLag {
        topic: Some(parts::topic_to_wire(&lag.topic)),
        partition: lag.partition.get(),
        member,
        client_id,
        committed: lag.committed.map(Offset::get),
        ..Default::default()
    };
    match lag.distance {
        Ok(distance) => v1::PartitionLag {
            log_start: distance.log_start.get(),
            high_watermark: distance.high_watermark.get(),
            lag: i64::try_from(distance.records).unwrap_or(i64::MAX),
            lag_seconds: distance.seconds,
            caught_up_seconds: distance.caught_up_seconds,
            ..wire
        },
        Err(error) => v1::PartitionLag { error: Some(error_in_answer(error)), ..wire },
    }
}
