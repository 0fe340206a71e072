//! `IncrementalAlterConfigs` (44), versions 0 and 1 (KIP-339): the configuration of a topic, key by key.
//!
//! Not there: brokers, whose settings are read when they start.

use millrace_broker::{Alteration, ConfigChange};
use millrace_kafka_wire::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use millrace_kafka_wire::incremental_alter_configs_response::AlterConfigsResourceResponse;
use millrace_kafka_wire::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use crate::answers::Reply;
use crate::config_resource::{Wanted, alter};
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

/// What is done to a key.
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: IncrementalAlterConfigsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let wanted = request.resources.iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: &resource.resource_name,
        alteration: keys(resource),
    });
    let altered = alter(api, caller, wanted.collect(), request.validate_only, memory).await?;
    api.requests.count(Operation::IncrementalAlterConfigs, parts::first_error(&altered));
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
    let response = IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    };
    Ok(asked.reply::<IncrementalAlterConfigsRequest>(&response)?)
}

fn keys(resource: &AlterConfigsResource) -> Result<Alteration, Fault> {
    resource.configs.iter().map(change).collect::<Result<_, _>>().map(Alteration::Keys)
}

fn change(config: &AlterableConfig) -> Result<ConfigChange, Fault> {
    let refused = |why: &str| Fault::new(KafkaError::InvalidRequest, format!("config {} {why}", config.name));
    let key = config.name.clone();
    if config.config_operation == DELETE {
        return Ok(ConfigChange::Unset { key });
    }
    let value = config.value.clone().ok_or_else(|| refused("has no value"))?;
    match config.config_operation {
        SET => Ok(ConfigChange::Set { key, value }),
        APPEND => Ok(ConfigChange::Append { key, value }),
        SUBTRACT => Ok(ConfigChange::Subtract { key, value }),
        other => Err(refused(&format!("is to be changed in a way that is not known ({other})"))),
    }
}
