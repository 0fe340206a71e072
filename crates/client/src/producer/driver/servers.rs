//! The connections of a producer: opened when there is something to send, given up when they fail.

use millrace_env::Monotonic;
use millrace_types::Outcome;

use super::Driver;
use crate::ClientError;
use crate::backoff::Backoff;
use crate::client::deserves_another_server;
use crate::producer::lane::LostAttempt;
use crate::producer::stream::Stream;
use crate::whereabouts::Place;

/// The most servers whose failures are remembered.
const SHUNNED_MAX: usize = 1024;

/// A server that has failed.
#[derive(Debug)]
pub(super) struct Shunned {
    backoff: Backoff,
    pub(super) connect_after: Monotonic,
}

impl Driver {
    /// Gives up connections whose oldest request has no answer within the request timeout.
    pub(super) fn drop_silent_streams(&mut self, now: Monotonic) {
        let timeout = self.client.options().request_timeout;
        let is_silent = |stream: &Stream| {
            stream.outstanding.front().is_some_and(|oldest| now.since(oldest.sent) >= timeout)
        };
        let silent = self.streams.iter().filter(|(_, stream)| is_silent(stream));
        for server in silent.map(|(server, _)| server.clone()).collect::<Vec<_>>() {
            let error = ClientError::TimedOut { server: server.clone(), after: timeout };
            self.end_stream(&server, &error);
        }
        self.drop_deposed(now);
    }

    /// Gives up connections that have been silent for a moment, if others lead what they were sent: a broker that is cut off does
    /// not say so.
    fn drop_deposed(&mut self, now: Monotonic) {
        let due =
            self.streams.iter_mut().filter(|(_, stream)| stream.suspect_at().is_some_and(|at| at <= now));
        let mut deposed = Vec::new();
        for (server, stream) in due {
            stream.suspected_at = now;
            let Some((at, _)) = stream.outstanding.front().and_then(|oldest| oldest.attempts.first()) else {
                continue;
            };
            match self.client.leader(*at) {
                Place::At(leader) if leader != *server => deposed.push(server.clone()),
                // It may still lead, and be slow.
                _ if self.client.whereabouts().is_cluster() => self.client.look_up(at.topic),
                _ => {}
            }
        }
        for server in deposed {
            let reason = "it has not answered, and another broker leads".to_owned();
            self.end_stream(&server, &ClientError::Lost { server: server.clone(), reason });
        }
    }

    /// Whether `server` takes one more request; connects to it if there is no connection.
    pub(super) fn has_stream(&mut self, server: &str, now: Monotonic) -> bool {
        if let Some(stream) = self.streams.get(server) {
            return stream.has_room();
        }
        if self.shunned.get(server).is_some_and(|shunned| shunned.connect_after > now) {
            return false;
        }
        match self.client.rpc(server) {
            Ok(rpc) => {
                let (env, events) = (self.client.env(), self.events_in.clone());
                let stream = Stream::open(env, server.to_owned(), rpc, self.next_stream, events);
                self.next_stream += 1;
                self.streams.insert(server.to_owned(), stream);
                true
            }
            Err(error) => {
                self.pause(server, &error);
                false
            }
        }
    }

    /// Gives up a connection: whatever it has not answered is lost, and sent again by the lanes.
    pub(super) fn end_stream(&mut self, server: &str, error: &ClientError) {
        let Some(mut stream) = self.streams.remove(server) else { return };
        let outstanding = std::mem::take(&mut stream.outstanding);
        drop(stream);
        self.pause(server, error);
        // Another server, if another one leads, need not be waited for.
        let retry_at = self.now().after(self.client.options().backoff_min);
        // Whatever the connection ended with, requests that it carried may have been served before.
        let never_sent = matches!(error, ClientError::Unreachable { .. });
        let outcome = if never_sent { Outcome::Definite } else { Outcome::Indefinite };
        let lost = LostAttempt { reason: error.to_string(), outcome };
        for (at, attempt) in outstanding.into_iter().flat_map(|request| request.attempts) {
            if let Some(route) = self.routes.get_mut(&at) {
                route.lane.on_lost(attempt, &lost, retry_at);
            }
            self.settle(at);
        }
    }

    /// After a failure of `server`: leaves it alone for a moment, and asks another one.
    fn pause(&mut self, server: &str, error: &ClientError) {
        let (now, options) = (self.now(), self.client.options());
        if self.shunned.len() >= SHUNNED_MAX {
            self.shunned.pop_first();
        }
        let is_cluster = self.client.whereabouts().is_cluster();
        let backoff = || if is_cluster { Backoff::following(options) } else { Backoff::new(options) };
        let shunned = self
            .shunned
            .entry(server.to_owned())
            .or_insert_with(|| Shunned { backoff: backoff(), connect_after: now });
        let pause = shunned.backoff.next(&*self.client.env().rng);
        shunned.connect_after = now.after(pause);
        if deserves_another_server(error) {
            self.client.leave(server);
        }
        tracing::debug!(%server, %error, ?pause, "connecting again");
    }
}
