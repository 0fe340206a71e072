//! `ApiVersions` (18), versions 0 to 4: what is served.
//!
//! Not there: features, of which there are none yet. A version that is not known is answered as version 0 has it, with
//! `UNSUPPORTED_VERSION` and the list, so that the client can ask again (KIP-511).

use millrace_kafka_wire::api_versions_response::ApiVersion;
use millrace_kafka_wire::{ApiVersionsRequest, ApiVersionsResponse, WireError};

use crate::answer::Rope;
use crate::answers::Reply;
use crate::error_map::KafkaError;
use crate::handlers::{Asked, Handlers, Operation};

/// Old librdkafka takes a broker that does not have version 0 of Produce for one that has no Produce (KAFKA-18659).
const PRODUCE_ADVERTISED_MIN: i16 = 0;

pub(super) fn handle(api: &Handlers, asked: Asked, request: &ApiVersionsRequest) -> Result<Reply, WireError> {
    // From version 3 on clients say who they are, in words that are safe to print.
    let legal = |text: &str| {
        let edge = |c: char| c.is_ascii_alphanumeric();
        let inner = |c: char| edge(c) || matches!(c, '-' | '.');
        text.starts_with(edge) && text.ends_with(edge) && text.chars().all(inner)
    };
    let named = legal(&request.client_software_name) && legal(&request.client_software_version);
    if asked.version >= 3 && !named {
        api.requests.count(Operation::ApiVersions, Some(KafkaError::InvalidRequest));
        let error_code = KafkaError::InvalidRequest.code();
        return asked.reply::<ApiVersionsRequest>(&ApiVersionsResponse { error_code, ..Default::default() });
    }
    api.requests.count(Operation::ApiVersions, None);
    asked.reply::<ApiVersionsRequest>(&response(0))
}

/// The answer to a version that is not known.
pub(crate) fn unknown_version(api: &Handlers, correlation: i32) -> Reply {
    api.requests.count(Operation::ApiVersions, Some(KafkaError::UnsupportedVersion));
    let asked = Asked { version: 0, correlation };
    let reply = asked.reply::<ApiVersionsRequest>(&response(KafkaError::UnsupportedVersion.code()));
    reply.unwrap_or_else(|_unsayable| Reply { rope: Rope::default(), permit: None })
}

fn response(error_code: i16) -> ApiVersionsResponse {
    let served = Operation::ALL.iter().map(|api| {
        let (min, max) = api.versions().into_inner();
        let min_version = if *api == Operation::Produce { PRODUCE_ADVERTISED_MIN } else { min };
        ApiVersion { api_key: api.key(), min_version, max_version: max, ..ApiVersion::default() }
    });
    ApiVersionsResponse { error_code, api_keys: served.collect(), ..ApiVersionsResponse::default() }
}
