//! Where to begin: at what the group has committed, else where the consumer was told to.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_proto::v1;
use millrace_types::limits::PARTITIONS_PER_REQUEST_MAX;
use millrace_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};

use super::held::{AssignedPartition, Begin};
use super::state::{Identity, Membership, Shared};
use crate::connection::Rpc;
use crate::metadata::TopicInfo;
use crate::{Client, ClientError, OffsetAt, OffsetQuery, Position, ReadError, Refusal};

/// A partition whose beginning is looked for.
#[derive(Clone, Debug)]
pub(super) struct Seeker {
    pub(super) key: TopicPartition,
    hold: u64,
    name: AssignedPartition,
    begin: Begin,
}

/// A beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Start {
    offset: Offset,
    leader_epoch: Option<LeaderEpoch>,
    committed: Option<Offset>,
}

/// What became of a look-up.
#[derive(Debug)]
enum Found {
    Start(Start),
    /// Nobody could say yet.
    NotYet,
    Failed(ReadError),
}

/// Finds beginnings.
#[derive(Clone, Debug)]
pub(super) struct Starts {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) instance: Option<String>,
    pub(super) shared: Arc<Shared>,
    /// Where the group has committed nothing.
    pub(super) otherwise: Position,
}

impl Starts {
    /// Who looks for a beginning now.
    pub(super) fn seekers(&self) -> Vec<Seeker> {
        let state = self.shared.lock();
        let wanting = state.held.iter().filter(|(_, held)| held.wants_start());
        let seeker = |(key, held): (&TopicPartition, &super::held::Held)| Seeker {
            key: *key,
            hold: held.hold,
            name: held.name.clone(),
            begin: held.begin,
        };
        wanting.take(PARTITIONS_PER_REQUEST_MAX).map(seeker).collect()
    }

    /// Finds them, as far as they can be found now; answers whether all were.
    pub(super) async fn look_up(self, seekers: Vec<Seeker>) -> bool {
        let committed = self.committed(&seekers).await;
        let mut found = BTreeMap::new();
        let mut to_resolve = Vec::new();
        for seeker in &seekers {
            match (seeker.begin, committed.get(&seeker.key)) {
                (Begin::At(position), _) => to_resolve.push((seeker, position)),
                (Begin::Committed, Some(Ok(Some(start)))) => {
                    drop(found.insert(seeker.key, Found::Start(*start)))
                }
                (Begin::Committed, Some(Ok(None))) => to_resolve.push((seeker, self.otherwise)),
                (Begin::Committed, Some(Err(refusal))) => {
                    drop(found.insert(seeker.key, judge(seeker, refusal.clone())));
                }
                (Begin::Committed, None) => drop(found.insert(seeker.key, Found::NotYet)),
            }
        }
        self.resolve_all(&to_resolve, &mut found).await;
        let is_complete = found.values().all(|found| !matches!(found, Found::NotYet));
        self.shared.change(|state| {
            for seeker in seekers {
                let held = state.held.get_mut(&seeker.key).filter(|held| held.hold == seeker.hold);
                // Somebody may have said meanwhile where to go.
                let Some(held) = held.filter(|held| held.wants_start()) else { continue };
                match found.remove(&seeker.key) {
                    Some(Found::Start(start)) => {
                        held.position = Some(start.offset);
                        held.floor = Some(held.floor.map_or(start.offset, |floor| floor.min(start.offset)));
                        held.last_epoch = start.leader_epoch;
                        held.committed = start.committed.or(held.committed);
                    }
                    Some(Found::Failed(error)) => state.fail(seeker.key, error),
                    Some(Found::NotYet) | None => {}
                }
            }
        });
        is_complete
    }

    /// What the group has committed; nothing for those of whom nobody could say.
    async fn committed(
        &self,
        seekers: &[Seeker],
    ) -> BTreeMap<TopicPartition, Result<Option<Start>, Refusal>> {
        let asked: Vec<&Seeker> = seekers.iter().filter(|seeker| seeker.begin == Begin::Committed).collect();
        let identity = match &*self.shared.membership.borrow() {
            Membership::In(identity) if !asked.is_empty() => identity.clone(),
            _ => return BTreeMap::new(),
        };
        let answer = match self.ask(&identity, &asked).await {
            Ok(answer) if answer.offsets.len() == asked.len() => answer,
            Ok(_) => return BTreeMap::new(),
            Err(ClientError::Refused(refusal)) => {
                return asked.iter().map(|seeker| (seeker.key, Err(refusal.clone()))).collect();
            }
            Err(error) => {
                tracing::debug!(%error, group = %self.group, "committed offsets are not known yet");
                return BTreeMap::new();
            }
        };
        let found = asked.iter().zip(answer.offsets).map(|(seeker, answer)| {
            let start = match answer.error {
                Some(error) => Err(Refusal::of(error)),
                None => Ok(answer.offset.and_then(Offset::new).map(|offset| Start {
                    offset,
                    leader_epoch: answer.leader_epoch.map(LeaderEpoch),
                    committed: Some(offset),
                })),
            };
            (seeker.key, start)
        });
        found.collect()
    }

    async fn ask(
        &self,
        identity: &Identity,
        asked: &[&Seeker],
    ) -> Result<v1::FetchOffsetsResponse, ClientError> {
        let key = |seeker: &&Seeker| v1::OffsetKey {
            topic: Some(v1::TopicRef::by_both(&seeker.name.topic, seeker.key.topic)),
            partition: seeker.key.partition.get(),
        };
        let request = v1::FetchOffsetsRequest {
            group: self.group.clone(),
            partitions: asked.iter().map(key).collect(),
            member: Some(identity.on_the_wire(self.instance.as_deref())),
        };
        let server = self.client.coordinator(&self.group);
        let send = |mut rpc: Rpc, request| async move { rpc.fetch_offsets(request).await };
        let limit = self.client.options().request_timeout;
        let asked = self.client.attempt(&server, limit, request, &send).await;
        if let Err(error) = &asked {
            self.client.heed_coordinator(&self.group, &server, error);
        }
        asked
    }

    /// Positions become offsets.
    async fn resolve_all(
        &self,
        to_resolve: &[(&Seeker, Position)],
        found: &mut BTreeMap<TopicPartition, Found>,
    ) {
        let mut queries = Vec::new();
        for (seeker, from) in to_resolve {
            queries.extend(questions(*from).map(|at| OffsetQuery {
                topic: seeker.name.topic.to_string(),
                partition: seeker.name.partition,
                at,
            }));
        }
        if to_resolve.is_empty() {
            return;
        }
        let answers = match self.client.admin().list_offsets(&queries).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(%error, group = %self.group, "offsets to begin at are not known yet");
                found.extend(to_resolve.iter().map(|(seeker, _)| (seeker.key, Found::NotYet)));
                return;
            }
        };
        let mut answers = answers.into_iter();
        for (seeker, from) in to_resolve {
            let answers: Result<Vec<_>, Refusal> = answers.by_ref().take(questions(*from).count()).collect();
            let resolved = match (from, answers) {
                (Position::Offset(offset), _) => started(*offset),
                // Of a time the first answer, and the end where no record is that late. An empty log has none to tell.
                (_, Ok(answers)) => {
                    started(answers.iter().find_map(|answer| answer.offset).unwrap_or(Offset::ZERO))
                }
                (_, Err(refusal)) => judge(seeker, refusal),
            };
            found.insert(seeker.key, resolved);
        }
    }
}

/// What has to be asked to know where that is.
fn questions(from: Position) -> impl Iterator<Item = OffsetAt> {
    let (first, second) = match from {
        Position::Beginning => (Some(OffsetAt::Earliest), None),
        Position::End => (Some(OffsetAt::Latest), None),
        Position::Time(time) => (Some(OffsetAt::Time(time)), Some(OffsetAt::Latest)),
        Position::Offset(_) => (None, None),
    };
    first.into_iter().chain(second)
}

fn started(offset: Offset) -> Found {
    Found::Start(Start { offset, leader_epoch: None, committed: None })
}

/// What reading needs of a topic.
pub(super) fn topic_info(key: TopicPartition, name: &AssignedPartition) -> Arc<TopicInfo> {
    Arc::new(TopicInfo { name: name.topic.clone(), id: key.topic, partitions: 0, batch_bytes_max: 0 })
}

/// A membership that has changed is heard of by its own way, and so is a topic that is gone: until then, patience.
fn judge(seeker: &Seeker, refusal: Refusal) -> Found {
    let code = refusal.code;
    let passes = matches!(
        code,
        Some(
            ErrorCode::UnknownMember
                | ErrorCode::FencedMemberEpoch
                | ErrorCode::FencedInstance
                | ErrorCode::UnknownTopicOrPartition
        )
    );
    if passes || refusal.is_retriable {
        return Found::NotYet;
    }
    let (topic, partition) = (seeker.name.topic.clone(), seeker.name.partition);
    Found::Failed(ReadError::Refused { topic, partition, refusal })
}
