//! `InitProducerId` (22), versions 0 to 5: an identity for an idempotent producer.
//!
//! Not there: transactions. A request with a transactional id is answered `UNSUPPORTED_VERSION`.

use millrace_kafka_wire::{InitProducerIdRequest, InitProducerIdResponse, WireError};

use crate::answers::Reply;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: &InitProducerIdRequest,
) -> Result<Reply, WireError> {
    let identity = match &request.transactional_id {
        Some(_) => Err(Fault::new(KafkaError::UnsupportedVersion, "there are no transactions")),
        // An idempotent producer that comes back with its id gets a new one, as in Kafka.
        None => api.broker.init_producer(&caller.context).await.map_err(Fault::from),
    };
    api.requests.count(Operation::InitProducerId, identity.as_ref().err().map(|fault| fault.error));
    let response = match identity {
        Ok(identity) => InitProducerIdResponse {
            producer_id: identity.id.0,
            producer_epoch: identity.epoch.0,
            ..InitProducerIdResponse::default()
        },
        Err(fault) => InitProducerIdResponse {
            error_code: fault.code(),
            producer_id: -1,
            producer_epoch: -1,
            ..InitProducerIdResponse::default()
        },
    };
    asked.reply::<InitProducerIdRequest>(&response)
}
