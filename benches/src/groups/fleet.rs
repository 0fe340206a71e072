//! Members, spread over as many connections as their streams need.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_proto::v1;
use millrace_types::limits::HTTP_STREAMS_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::board::Board;
use super::line::{self, Line, Order};
use crate::rpc;

/// Members of one connection: below the streams that it may have open.
const MEMBERS_PER_CONNECTION: usize = (HTTP_STREAMS_MAX - 10) as usize;

/// A fleet of members. Dropped, all of them are gone without a word.
#[derive(Debug)]
pub struct Fleet {
    lines: Vec<(mpsc::UnboundedSender<Order>, JoinHandle<Result<()>>)>,
    board: Arc<Board>,
}

impl Fleet {
    /// Connects, with room for so many members.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn connect(addr: &str, members: usize) -> Result<Fleet> {
        Fleet::with_interval(addr, members, None).await
    }

    /// As [`Fleet::connect`], with members that heartbeat so often, whatever the server says.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn with_interval(addr: &str, members: usize, interval: Option<Duration>) -> Result<Fleet> {
        let board = Arc::new(Board::default());
        let mut lines = Vec::new();
        for _ in 0..members.div_ceil(MEMBERS_PER_CONNECTION) {
            let (orders, receiver) = mpsc::unbounded_channel();
            let line = Line::new(rpc::connect(addr).await?, Arc::clone(&board), interval);
            lines.push((orders, tokio::spawn(line::drive(line, receiver))));
        }
        Ok(Fleet { lines, board })
    }

    /// What the members know.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How many connections there are.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.lines.len()
    }

    /// Lets the member at that seat join the group.
    ///
    /// # Errors
    /// Its connection is gone.
    pub fn join(&self, seat: usize, group: &str, topic: &str) -> Result<()> {
        let subscription = v1::GroupSubscription { topics: vec![topic.to_owned()], pattern: None };
        let join =
            v1::JoinGroup { group: group.to_owned(), subscription: Some(subscription), ..Default::default() };
        self.order(seat, Order::Join(seat, Box::new(join)))
    }

    /// Lets it leave.
    ///
    /// # Errors
    /// Its connection is gone.
    pub fn leave(&self, seat: usize) -> Result<()> {
        self.order(seat, Order::Leave(seat))
    }

    /// Lets it be gone without a word.
    ///
    /// # Errors
    /// Its connection is gone.
    pub fn vanish(&self, seat: usize) -> Result<()> {
        self.order(seat, Order::Vanish(seat))
    }

    fn order(&self, seat: usize, order: Order) -> Result<()> {
        let (orders, _) = self.lines.get(seat / MEMBERS_PER_CONNECTION).context("there is no such seat")?;
        orders.send(order).ok().context("the connection is gone")
    }

    /// Hangs up.
    ///
    /// # Errors
    /// What a connection's task has failed with.
    pub async fn hang_up(self) -> Result<()> {
        for (orders, task) in self.lines {
            drop(orders);
            task.await??;
        }
        Ok(())
    }
}
