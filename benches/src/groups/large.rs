//! One group of a thousand members on a thousand partitions: one leaves, one comes, one is gone without a word.
#![expect(clippy::print_stdout, reason = "a measurement talks to the person who called it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use millrace_proto::v1;
use millrace_types::ErrorCode;
use tokio::time::sleep;

use super::board::{Board, Part, Sums};
use super::fleet::Fleet;
use crate::child::Broker;
use crate::contest::spread;
use crate::load::cpu_of;
use crate::rpc::{self, Rpc};

const GROUP: &str = "large";
const TOPIC: &str = "large";
/// How long a change may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long is looked after a change whether anything else moves.
const SETTLE: Duration = Duration::from_secs(1);
/// Joins that are not answered yet.
const JOINS_AT_ONCE: usize = 32;
/// How often and after how long a commit of an old epoch is repeated.
const REPEATS_MAX: usize = 100;
const REPEAT_AFTER: Duration = Duration::from_millis(20);
/// Commits that are open at once while somebody leaves.
const COMMITS_AT_ONCE: usize = 64;

/// How large and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Members, and partitions.
    pub members: usize,
    /// Changes of each kind.
    pub rounds: usize,
    /// How long the broker is watched while nothing changes.
    pub idle: Duration,
}

/// What a change did.
#[derive(Debug)]
struct Change {
    stable: Duration,
    moved: usize,
    touched: usize,
    /// Processor time of the broker above what it uses when nothing changes.
    cpu: Duration,
}

struct Stage<'a> {
    broker: &'a Broker,
    fleet: Fleet,
    scale: Scale,
    /// Processor time per second while nothing changes.
    idle: f64,
}

/// Measures it.
///
/// # Errors
/// The broker refuses, or does not come to rest.
pub async fn run(broker: &Broker, scale: Scale) -> Result<()> {
    let mut rpc = rpc::connect(&broker.grpc).await?;
    rpc::create_topic(&mut rpc, TOPIC, u32::try_from(scale.members)?).await?;
    let fleet = Fleet::connect(&broker.grpc, scale.members).await?;
    println!(
        "\n## groups, one large: {} members of one group on as many partitions of one topic, on {} connections",
        scale.members,
        fleet.connections()
    );
    let mut stage = Stage { broker, fleet, scale, idle: 0.0 };
    stage.gather().await?;
    stage.rest().await?;
    println!(
        "   {:<34}{:>26}{:>10}{:>10}{:>22}",
        "", "stable after, ms", "moved", "touched", "broker CPU above, ms"
    );
    let (mut left, mut come) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds {
        // Another one each time, and none that has just come.
        let seat = (round * 37 + 11) % scale.members;
        left.push(stage.change(seat, scale.members - 1, |fleet| fleet.leave(seat)).await?);
        come.push(stage.change(seat, scale.members, |fleet| fleet.join(seat, GROUP, TOPIC)).await?);
    }
    print("one leaves", &left);
    print("one joins", &come);
    let seat = scale.members - 1;
    let dead = stage.change(seat, scale.members - 1, |fleet| fleet.vanish(seat)).await?;
    print("one is gone without a word", &[dead]);
    stage.change(seat, scale.members, |fleet| fleet.join(seat, GROUP, TOPIC)).await?;
    stage.leave_under_commits().await?;
    stage.compare(&mut rpc).await?;
    stage.fleet.hang_up().await
}

fn print(what: &str, changes: &[Change]) {
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let column = |of: &dyn Fn(&Change) -> f64| changes.iter().map(of).collect::<Vec<f64>>();
    let largest = |of: &dyn Fn(&Change) -> usize| changes.iter().map(of).max().unwrap_or(0);
    println!(
        "   {what:<34}{:>26}{:>10}{:>10}{:>22}",
        spread(&column(&|change| ms(change.stable)), 1),
        largest(&|change| change.moved),
        largest(&|change| change.touched),
        spread(&column(&|change| ms(change.cpu)), 0),
    );
}

impl Stage<'_> {
    fn board(&self) -> &Board {
        self.fleet.board()
    }

    fn cpu(&self) -> Duration {
        cpu_of(self.broker.process.pid())
    }

    async fn until_stable(&self, members: usize) -> Result<()> {
        let partitions = self.scale.members;
        let wanted = |sums: &Sums| *sums == Sums { members, owned: partitions, waiting: 0 };
        self.board().until(PATIENCE, wanted).await
    }

    /// All join.
    async fn gather(&self) -> Result<()> {
        let (begun, before) = (Instant::now(), self.cpu());
        for seat in 0..self.scale.members {
            self.fleet.join(seat, GROUP, TOPIC)?;
            let joined = seat.saturating_sub(JOINS_AT_ONCE);
            self.board().until(PATIENCE, |sums| sums.members >= joined).await?;
        }
        self.until_stable(self.scale.members).await?;
        println!(
            "   all join, {JOINS_AT_ONCE} at once: everybody owns one after {:.2} s, broker CPU {:.2} s, {} assignments heard, {} had to join anew",
            begun.elapsed().as_secs_f64(),
            (self.cpu() - before).as_secs_f64(),
            self.board().traffic().assignments,
            self.board().traffic().fenced,
        );
        Ok(())
    }

    /// What heartbeats cost while nothing changes.
    async fn rest(&mut self) -> Result<()> {
        sleep(SETTLE).await;
        let (begun, cpu, beats) = (Instant::now(), self.cpu(), self.board().traffic().heartbeats);
        sleep(self.scale.idle).await;
        let (wall, cpu) = (begun.elapsed().as_secs_f64(), (self.cpu() - cpu).as_secs_f64());
        let beats = self.board().traffic().heartbeats - beats;
        self.idle = cpu / wall;
        let interval = self.board().view(0).map_or(Duration::ZERO, |view| view.interval);
        println!(
            "   nothing changes, a heartbeat every {} ms each: {:.0} per s, {:.2} % of a core, {:.1} us each",
            interval.as_millis(),
            count(beats) / wall,
            self.idle * 100.0,
            cpu * 1e6 / count(beats.max(1)),
        );
        Ok(())
    }

    /// Does something to one member, waits until all partitions are owned again, and sees what has moved.
    async fn change(
        &self,
        seat: usize,
        members: usize,
        act: impl FnOnce(&Fleet) -> Result<()>,
    ) -> Result<Change> {
        let (owners, changes) = (self.board().owners()?, self.changes());
        let (begun, cpu) = (Instant::now(), self.cpu());
        act(&self.fleet)?;
        self.until_stable(members).await?;
        let stable = begun.elapsed();
        sleep(SETTLE).await;
        let resting = Duration::from_secs_f64(self.idle * begun.elapsed().as_secs_f64());
        let cpu = (self.cpu() - cpu).saturating_sub(resting);
        let moved = moved(&owners, &self.board().owners()?);
        let after = self.changes();
        let touched =
            after.iter().filter(|(other, count)| **other != seat && changes.get(other) != Some(count));
        Ok(Change { stable, moved, touched: touched.count(), cpu })
    }

    fn changes(&self) -> BTreeMap<usize, u64> {
        let view = |seat| Some((seat, self.board().view(seat)?.changes));
        (0..self.scale.members).filter_map(view).collect()
    }

    /// Everybody else commits with its epoch while one leaves: nobody who was not touched may be refused.
    async fn leave_under_commits(&self) -> Result<()> {
        let seat = self.scale.members / 2;
        let changes = self.changes();
        let (taken, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        let rpc = rpc::connect(&self.broker.grpc).await?;
        let committing = async {
            let mut refused = BTreeSet::new();
            let mut rounds = 0;
            while rounds < 2 || !is_over.load(Ordering::Relaxed) {
                let others = (0..self.scale.members).filter(|other| *other != seat);
                let commits = futures::stream::iter(others).map(|other| self.commit(rpc.clone(), other));
                let mut commits = commits.buffer_unordered(COMMITS_AT_ONCE);
                while let Some((other, was_taken)) = commits.next().await {
                    match was_taken? {
                        true => taken.fetch_add(1, Ordering::Relaxed),
                        false => u64::from(refused.insert(other)),
                    };
                }
                rounds += 1;
            }
            anyhow::Ok(refused)
        };
        let leaving = async {
            let begun = Instant::now();
            self.fleet.leave(seat)?;
            self.until_stable(self.scale.members - 1).await?;
            is_over.store(true, Ordering::Relaxed);
            anyhow::Ok(begun.elapsed())
        };
        let (refused, stable) = tokio::try_join!(committing, leaving)?;
        let after = self.changes();
        let untouched = refused.iter().filter(|other| changes.get(other) == after.get(other)).count();
        println!(
            "   one leaves while the others commit: stable after {:.1} ms, {} commits taken; refused: {} of the members that lost or got a partition, {untouched} of all others",
            stable.as_secs_f64() * 1e3,
            taken.load(Ordering::Relaxed),
            refused.len() - untouched,
        );
        ensure!(untouched == 0, "members that nothing happened to were refused");
        Ok(())
    }

    /// Commits the first partition that a member owns; whether it was taken. One that crosses the news of an epoch is repeated
    /// with the newest, as every client does.
    async fn commit(&self, rpc: Rpc, seat: usize) -> (usize, Result<bool>) {
        for _ in 0..REPEATS_MAX {
            match self.commit_once(rpc.clone(), seat).await {
                Ok(Some(ErrorCode::StaleMemberEpoch)) => sleep(REPEAT_AFTER).await,
                Ok(code) => return (seat, Ok(code.is_none())),
                Err(error) => return (seat, Err(error)),
            }
        }
        (seat, Ok(false))
    }

    /// Why it was refused, if it was.
    async fn commit_once(&self, mut rpc: Rpc, seat: usize) -> Result<Option<ErrorCode>> {
        let Some(view) = self.board().view(seat) else { return Ok(None) };
        let Some((id, partition)) = view.owned.first().cloned() else { return Ok(None) };
        let commit = v1::OffsetCommit {
            topic: Some(v1::TopicRef { name: String::new(), id }),
            partition,
            ..Default::default()
        };
        let member = v1::MemberRef { member: view.member, instance: None, epoch: view.epoch };
        let request =
            v1::CommitOffsetsRequest { group: GROUP.to_owned(), offsets: vec![commit], member: Some(member) };
        let error = match rpc.commit_offsets(request).await {
            Ok(answer) => answer.into_inner().offsets.into_iter().find_map(|offset| offset.error),
            Err(status) => Some(millrace_proto::error_of(&status).with_context(|| status.to_string())?),
        };
        Ok(error.map(|error| error.known_code().unwrap_or(ErrorCode::Internal)))
    }

    /// The broker's own word on who owns what must be that of the members.
    async fn compare(&self, rpc: &mut Rpc) -> Result<()> {
        let request = v1::DescribeGroupRequest { group: GROUP.to_owned() };
        let described = match rpc.describe_group(request).await {
            Ok(described) => described.into_inner(),
            Err(status) => {
                println!("   not compared with the broker's own list: {}", status.message());
                return Ok(());
            }
        };
        let mut theirs: BTreeMap<Part, String> = BTreeMap::new();
        for member in described.members {
            for topic in member.owned {
                let id = topic.topic.unwrap_or_default().id;
                theirs.extend(
                    topic.partitions.into_iter().map(|part| ((id.clone(), part), member.member.clone())),
                );
            }
        }
        let name = |seat| self.board().view(seat).map(|view| view.member).unwrap_or_default();
        let ours = self.board().owners()?.into_iter().map(|(part, seat)| (part, name(seat)));
        ensure!(ours.collect::<BTreeMap<_, _>>() == theirs, "the broker's list is another");
        println!("   the broker's list of owners is that of the members: {} partitions", theirs.len());
        Ok(())
    }
}

fn moved(before: &BTreeMap<Part, usize>, after: &BTreeMap<Part, usize>) -> usize {
    after.iter().filter(|(part, owner)| before.get(part) != Some(owner)).count()
}

pub(super) fn count(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
