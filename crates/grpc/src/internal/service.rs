//! What other brokers ask, method by method handed to who answers it.

use std::sync::Arc;

use millrace_broker::{ApiError, CallError, PeerAnswer, PeerCall, PeerService, QuorumRequest};
use millrace_env::{TaskHandle, Tasks};
use millrace_proto::internal;
use millrace_proto::internal::internal_server::Internal;
use millrace_types::ErrorCode;
use tokio::sync::{Semaphore, oneshot};
use tonic::{Request, Response, Status, Streaming};

use super::calls::{decide_call, to_decide_answer};
use super::fetches::{fetch_call, records_call, to_fetch_answer};
use super::quorum_calls::{Parts, to_reply};
use super::wire::{Malformed, shortened};
use crate::error_map::{refuse, status_of};

/// Answers calls.
#[derive(Clone, Debug)]
pub(super) struct Answering {
    pub(super) service: Arc<dyn PeerService>,
    /// For requests in parts.
    pub(super) parts: Arc<Semaphore>,
    /// Where what reads logs runs: connections that decide may be driven by a thread of their own.
    pub(super) reading: Arc<dyn Tasks>,
}

/// A task that ends with whoever waits for it.
#[derive(Debug)]
struct Tied(Box<dyn TaskHandle>);

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answering {
    async fn quorum(&self, request: &[u8]) -> internal::QuorumReply {
        let answer = match QuorumRequest::decode(request) {
            Ok(request) => self.service.answer_quorum(request).await,
            Err(error) => Err(CallError::Protocol(error.to_string())),
        };
        to_reply(answer)
    }

    /// Has records read where it does not hold up what decides.
    async fn read(&self, call: PeerCall) -> Result<PeerAnswer, Status> {
        let (answering, (tell, heard)) = (self.service.answer(call), oneshot::channel());
        let reading = async move {
            // Nobody listens any more if the follower went away.
            let _unheard = tell.send(answering.await);
        };
        let _tied = Tied(self.reading.spawn("replica fetch", Box::pin(reading)));
        match heard.await {
            Ok(answer) => answer.map_err(refused),
            Err(_dropped) => {
                Err(refuse(ErrorCode::Internal, "the broker failed on this fetch; its log says where"))
            }
        }
    }

    async fn collect(&self, mut parts: Streaming<internal::QuorumPart>) -> Result<Vec<u8>, Status> {
        let mut collected = Parts::default();
        while let Some(part) = parts.message().await? {
            collected.take(&part).map_err(senseless)?;
        }
        collected.whole().map(Vec::from).map_err(senseless)
    }
}

fn senseless(malformed: Malformed) -> Status {
    refuse(ErrorCode::InvalidRequest, malformed.to_string())
}

fn refused(error: ApiError) -> Status {
    status_of(shortened(error))
}

/// The broker has answered something else than what it was asked.
fn strange() -> Status {
    refuse(ErrorCode::Internal, "the broker has given an answer to another question")
}

#[tonic::async_trait]
impl Internal for Answering {
    async fn quorum(
        &self,
        request: Request<internal::QuorumCall>,
    ) -> Result<Response<internal::QuorumReply>, Status> {
        Ok(Response::new(self.quorum(&request.into_inner().request).await))
    }

    async fn quorum_parts(
        &self,
        request: Request<Streaming<internal::QuorumPart>>,
    ) -> Result<Response<internal::QuorumReply>, Status> {
        let Ok(_one_of_few) = self.parts.try_acquire() else {
            let busy = CallError::Unreachable("it takes in other snapshots".to_owned());
            return Ok(Response::new(to_reply(Err(busy))));
        };
        let request = self.collect(request.into_inner()).await?;
        Ok(Response::new(self.quorum(&request).await))
    }

    async fn decide(
        &self,
        request: Request<internal::DecideCall>,
    ) -> Result<Response<internal::DecideAnswer>, Status> {
        let call = decide_call(request.into_inner()).map_err(senseless)?;
        let answer = self.service.answer(call).await.map_err(refused)?;
        to_decide_answer(answer).map(Response::new).ok_or_else(strange)
    }

    async fn fetch(
        &self,
        request: Request<internal::FetchCall>,
    ) -> Result<Response<internal::FetchAnswer>, Status> {
        let call = fetch_call(request.into_inner()).map_err(senseless)?;
        match self.read(call).await? {
            PeerAnswer::Fetched(fetched) => Ok(Response::new(to_fetch_answer(fetched))),
            _ => Err(strange()),
        }
    }

    async fn records(
        &self,
        request: Request<internal::RecordsCall>,
    ) -> Result<Response<internal::RecordsAnswer>, Status> {
        let call = records_call(request.into_inner()).map_err(senseless)?;
        match self.read(call).await? {
            PeerAnswer::Records(batches) => Ok(Response::new(internal::RecordsAnswer { batches })),
            _ => Err(strange()),
        }
    }
}
