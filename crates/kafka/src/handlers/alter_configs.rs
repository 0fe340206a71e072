//! `AlterConfigs` (33), versions 0 to 2: the whole configuration of a topic. What is not named goes back to its default.
//!
//! Not there: brokers, whose settings are read when they start.

use std::collections::BTreeMap;

use millrace_broker::Alteration;
use millrace_kafka_wire::alter_configs_request::AlterConfigsResource;
use millrace_kafka_wire::alter_configs_response::AlterConfigsResourceResponse;
use millrace_kafka_wire::{AlterConfigsRequest, AlterConfigsResponse};

use crate::answers::Reply;
use crate::config_resource::{Wanted, alter};
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: AlterConfigsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let wanted = request.resources.iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: &resource.resource_name,
        alteration: whole(resource),
    });
    let altered = alter(api, caller, wanted.collect(), request.validate_only, memory).await?;
    api.requests.count(Operation::AlterConfigs, parts::first_error(&altered));
    let responses = request.resources.into_iter().zip(altered).map(|(resource, altered)| {
        let fault = altered.err();
        AlterConfigsResourceResponse {
            error_code: fault.as_ref().map_or(0, Fault::code),
            error_message: fault.map(|fault| fault.message),
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
            ..AlterConfigsResourceResponse::default()
        }
    });
    let response = AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() };
    Ok(asked.reply::<AlterConfigsRequest>(&response)?)
}

fn whole(resource: &AlterConfigsResource) -> Result<Alteration, Fault> {
    let mut configs = BTreeMap::new();
    for config in &resource.configs {
        let refused = |why| Fault::new(KafkaError::InvalidRequest, format!("config {} {why}", config.name));
        let value = config.value.clone().ok_or_else(|| refused("has no value"))?;
        if configs.insert(config.name.clone(), value).is_some() {
            return Err(refused("is named twice"));
        }
    }
    Ok(Alteration::Whole(configs))
}
