//! `CreatePartitions` (37), versions 0 to 3.
//!
//! The request's timeout has no effect: the partitions are made or refused within the request.

use millrace_broker::{CreatePartitionsRequest, NewPartitions};
use millrace_kafka_wire as wire;
use millrace_kafka_wire::CreatePartitionsResponse;
use millrace_kafka_wire::create_partitions_request::CreatePartitionsTopic;
use millrace_kafka_wire::create_partitions_response::CreatePartitionsTopicResult;
use millrace_types::limits::{KAFKA_LAYOUT_BYTES, PARTITIONS_PER_BROKER_MAX};

use crate::answers::Reply;
use crate::assignment;
use crate::bill::Bill;
use crate::error_map::{Fault, KafkaError};
use crate::handlers::{Asked, Caller, Handlers, Operation};
use crate::parts;
use crate::request_memory::{RequestMemory, Unanswered};

pub(super) async fn handle(
    api: &Handlers,
    caller: &Caller,
    asked: Asked,
    request: wire::CreatePartitionsRequest,
    memory: &mut RequestMemory,
) -> Result<Reply, Unanswered> {
    let twice = parts::twice(request.topics.iter().map(|topic| topic.name.as_str()));
    let questions = request.topics.iter().map(|topic| {
        if twice.contains(topic.name.as_str()) {
            return Err(Fault::new(KafkaError::InvalidRequest, "the request names the topic twice"));
        }
        question(api, caller, topic)
    });
    let (topics, faults) = parts::readable(questions.collect());
    // The broker answers with the topics as they are then.
    let wanted: u64 = topics.iter().map(|topic| u64::from(topic.count.min(PARTITIONS_PER_BROKER_MAX))).sum();
    let partitions = wanted.min(u64::from(PARTITIONS_PER_BROKER_MAX));
    let mut bill = Bill::new(memory);
    bill.add(usize::try_from(partitions).unwrap_or(usize::MAX) * KAFKA_LAYOUT_BYTES).await?;
    let ask = CreatePartitionsRequest { topics, validate_only: request.validate_only };
    let answers = faults.around(api.broker.create_partitions(&caller.context, ask).await, Fault::from);
    api.requests.count(Operation::CreatePartitions, parts::first_error(&answers));
    let results = request.topics.into_iter().zip(answers).map(|(topic, answer)| {
        let fault = answer.err();
        CreatePartitionsTopicResult {
            name: topic.name,
            error_code: fault.as_ref().map_or(0, Fault::code),
            error_message: fault.map(|fault| fault.message),
            ..CreatePartitionsTopicResult::default()
        }
    });
    let response =
        CreatePartitionsResponse { results: results.collect(), ..CreatePartitionsResponse::default() };
    let reply = asked.reply::<wire::CreatePartitionsRequest>(&response)?;
    bill.settle(reply.rope.len());
    Ok(reply)
}

fn question(api: &Handlers, caller: &Caller, topic: &CreatePartitionsTopic) -> Result<NewPartitions, Fault> {
    let invalid = |_| Fault::new(KafkaError::InvalidPartitions, format!("{} partitions", topic.count));
    let (name, count) = (parts::topic(&topic.name)?, u32::try_from(topic.count).map_err(invalid)?);
    if let Some(assignments) = &topic.assignments {
        assignment::check(assignments.iter().map(|one| &one.broker_ids), api.settings.node)?;
        let existing = api.layout(caller, name.clone())?.partitions.len();
        if u32::try_from(existing + assignments.len()).is_ok_and(|assigned| assigned != count) {
            let message =
                format!("{} partitions are assigned, from {existing} to {count}", assignments.len());
            return Err(assignment::fault(message));
        }
    }
    Ok(NewPartitions { topic: name, count })
}
