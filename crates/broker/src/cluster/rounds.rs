//! One answer for everybody who has asked before the question was put.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::ApiError;

/// Rounds of a question whose answer is of use to whoever has asked before the round began. One at a time.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// How many have begun.
    begun: AtomicU64,
    newest: Mutex<Newest>,
}

/// The newest round that has ended.
#[derive(Debug)]
struct Newest {
    round: u64,
    answer: Result<(), ApiError>,
}

impl Default for Newest {
    fn default() -> Newest {
        Newest { round: 0, answer: Ok(()) }
    }
}

impl Rounds {
    /// Answers as a round does that has begun after this call: `ask` puts the question, unless somebody else has meanwhile. So nobody
    /// waits for more than two rounds, however many ask.
    ///
    /// # Errors
    /// Of `ask`.
    pub(crate) async fn next(&self, ask: impl AsyncFnOnce() -> Result<(), ApiError>) -> Result<(), ApiError> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut newest = self.newest.lock().await;
        if newest.round > begun {
            return newest.answer.clone();
        }
        let round = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let answer = ask().await;
        *newest = Newest { round, answer: answer.clone() };
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use millrace_types::ErrorCode;
    use tokio::sync::oneshot;

    use super::Rounds;
    use crate::ApiError;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn those_who_ask_during_a_round_share_the_next_one() {
        let (rounds, asked) = (Rounds::default(), Cell::new(0));
        let (go_on, wait) = oneshot::channel::<()>();
        let mut first = pin!(rounds.next(async || {
            asked.set(asked.get() + 1);
            wait.await.map_err(|_| ApiError::new(ErrorCode::Internal, "gone"))
        }));
        assert!(poll(first.as_mut()).is_pending());
        let mut others: Vec<_> = (0..3)
            .map(|_| {
                Box::pin(rounds.next(async || {
                    asked.set(asked.get() + 1);
                    Ok(())
                }))
            })
            .collect();
        for other in &mut others {
            assert!(poll(other.as_mut()).is_pending(), "the round under way began before it asked");
        }
        go_on.send(()).unwrap();
        assert_eq!(poll(first.as_mut()), Poll::Ready(Ok(())));
        for other in &mut others {
            assert_eq!(poll(other.as_mut()), Poll::Ready(Ok(())));
        }
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn a_round_that_fails_is_no_answer_to_who_asks_later() {
        let (rounds, asked) = (Rounds::default(), Cell::new(0));
        let refused = ApiError::new(ErrorCode::QuorumUnavailable, "nobody leads");
        let failing = {
            let refused = refused.clone();
            pin!(rounds.next(async || Err(refused)))
        };
        assert_eq!(poll(failing), Poll::Ready(Err(refused)));
        let again = pin!(rounds.next(async || {
            asked.set(1);
            Ok(())
        }));
        assert_eq!(poll(again), Poll::Ready(Ok(())));
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn a_round_that_is_given_up_is_nobodys() {
        let rounds = Rounds::default();
        {
            let never = pin!(rounds.next(async || std::future::pending().await));
            assert!(poll(never).is_pending());
        }
        assert_eq!(poll(pin!(rounds.next(async || Ok(())))), Poll::Ready(Ok(())));
    }
}
