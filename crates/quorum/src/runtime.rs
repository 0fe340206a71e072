//! openraft's runtime over env: its tasks, clock and random numbers are those of the world that it runs in.
//!
//! openraft asks a *type* for the time, so the world cannot be a field: it is a variable of the thread, set while one of
//! the quorum's futures is polled ([`Scoped`]) and handed on to whatever that spawns. Two nodes of one process, each in its
//! own world, do not see each other's.

use std::cell::RefCell;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use millrace_env::{BoxFuture, Env, Monotonic, Rng};
use openraft::async_runtime::AsyncOneshotSendExt;
use openraft::{AsyncRuntime, OptionalSend};
use parking_lot::Mutex;
use tokio::sync::oneshot;

thread_local! {
    static WORLD: RefCell<Option<Arc<Env>>> = const { RefCell::new(None) };
}

/// The thread is in a world for as long as this lives.
#[derive(Debug)]
pub(crate) struct Within {
    before: Option<Arc<Env>>,
    /// Not to be sent to another thread.
    _thread: PhantomData<*const ()>,
}

/// Brings the thread into a world.
pub(crate) fn enter(env: &Arc<Env>) -> Within {
    let before = WORLD.with(|world| world.borrow_mut().replace(Arc::clone(env)));
    Within { before, _thread: PhantomData }
}

impl Drop for Within {
    fn drop(&mut self) {
        let before = self.before.take();
        WORLD.with(|world| *world.borrow_mut() = before);
    }
}

/// The world of the thread.
fn world() -> Arc<Env> {
    let world = WORLD.with(|world| world.borrow().clone());
    let Some(world) = world else {
        unreachable!("openraft is only called by futures that `within` has made");
    };
    world
}

/// A future of the quorum, polled in its world.
pub(crate) struct Scoped<F> {
    env: Arc<Env>,
    future: Pin<Box<F>>,
}

/// Polls `future` in the world of `env`.
pub(crate) fn within<F: Future>(env: &Arc<Env>, future: F) -> Scoped<F> {
    Scoped { env: Arc::clone(env), future: Box::pin(future) }
}

impl<F: Future> Future for Scoped<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let _within = enter(&self.env);
        self.future.as_mut().poll(context)
    }
}

/// Runs `work`, which may block, and tells the runtime so.
pub(crate) fn blocking<T>(env: &Env, work: impl FnOnce() -> T) -> T {
    let (mut work, mut answer) = (Some(work), None);
    env.tasks.blocking_section(&mut || answer = work.take().map(|work| work()));
    let Some(answer) = answer else {
        unreachable!("a blocking section runs its work before it returns");
    };
    answer
}

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct EnvRuntime;

/// A point on env's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct EnvInstant(Duration);

impl Add<Duration> for EnvInstant {
    type Output = EnvInstant;

    fn add(self, duration: Duration) -> EnvInstant {
        EnvInstant(self.0.saturating_add(duration))
    }
}

impl AddAssign<Duration> for EnvInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for EnvInstant {
    type Output = EnvInstant;

    fn sub(self, duration: Duration) -> EnvInstant {
        EnvInstant(self.0.saturating_sub(duration))
    }
}

impl SubAssign<Duration> for EnvInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for EnvInstant {
    type Output = Duration;

    fn sub(self, earlier: EnvInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl openraft::Instant for EnvInstant {
    fn now() -> EnvInstant {
        EnvInstant(world().clock.monotonic().0)
    }
}

/// A task that ended without an answer: it was stopped, or it panicked.
#[derive(Debug, thiserror::Error)]
#[error("a task of the quorum ended without an answer")]
pub(crate) struct TaskLost;

/// The answer of a task. Dropping this lets the task run on.
pub(crate) struct EnvJoin<T> {
    answer: oneshot::Receiver<T>,
}

impl<T> Future for EnvJoin<T> {
    type Output = Result<T, TaskLost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map_err(|_| TaskLost)
    }
}

/// A sleep. Behind a lock that is never contended, because openraft wants it shareable.
pub(crate) struct EnvSleep(Mutex<BoxFuture<()>>);

impl Future for EnvSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().as_mut().poll(context)
    }
}

/// The time was over.
#[derive(Debug, thiserror::Error)]
#[error("out of time")]
pub(crate) struct OutOfTime;

/// A future with a deadline.
pub(crate) struct EnvTimeout<F> {
    future: Pin<Box<F>>,
    sleep: EnvSleep,
}

impl<F: Future> Future for EnvTimeout<F> {
    type Output = Result<F::Output, OutOfTime>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(answer) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(answer));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(OutOfTime))
    }
}

/// Env's random numbers by openraft's trait.
pub(crate) struct EnvRng(Arc<dyn Rng>);

impl rand::RngCore for EnvRng {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, buffer: &mut [u8]) {
        self.0.fill(buffer);
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> Result<(), rand::Error> {
        self.0.fill(buffer);
        Ok(())
    }
}

/// One end of a channel for one value.
pub(crate) struct EnvOneshot<T>(oneshot::Sender<T>);

impl<T> std::fmt::Debug for EnvOneshot<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnvOneshot")
    }
}

impl<T: OptionalSend> AsyncOneshotSendExt<T> for EnvOneshot<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

impl AsyncRuntime for EnvRuntime {
    type JoinError = TaskLost;
    type JoinHandle<T: OptionalSend + 'static> = EnvJoin<T>;
    type Sleep = EnvSleep;
    type Instant = EnvInstant;
    type TimeoutError = OutOfTime;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = EnvTimeout<T>;
    type ThreadLocalRng = EnvRng;
    type OneshotSender<T: OptionalSend> = EnvOneshot<T>;
    type OneshotReceiverError = oneshot::error::RecvError;
    type OneshotReceiver<T: OptionalSend> = oneshot::Receiver<T>;

    fn spawn<T>(future: T) -> EnvJoin<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let world = world();
        let (sender, answer) = oneshot::channel();
        let work = within(&world, async move {
            // Nobody waits for most of them.
            let _unheard = sender.send(future.await);
        });
        let _runs_on = world.tasks.spawn("quorum", Box::pin(work));
        EnvJoin { answer }
    }

    fn sleep(duration: Duration) -> EnvSleep {
        EnvSleep(Mutex::new(world().clock.sleep(duration)))
    }

    fn sleep_until(deadline: EnvInstant) -> EnvSleep {
        let world = world();
        let left = Monotonic(deadline.0).since(world.clock.monotonic());
        EnvSleep(Mutex::new(world.clock.sleep(left)))
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> EnvTimeout<F> {
        EnvTimeout { future: Box::pin(future), sleep: EnvRuntime::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: EnvInstant, future: F) -> EnvTimeout<F> {
        EnvTimeout { future: Box::pin(future), sleep: EnvRuntime::sleep_until(deadline) }
    }

    fn is_panic(_lost: &TaskLost) -> bool {
        // A task that was stopped from outside is gone just as thoroughly.
        true
    }

    fn thread_rng() -> EnvRng {
        EnvRng(Arc::clone(&world().rng))
    }

    fn oneshot<T: OptionalSend>() -> (EnvOneshot<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (EnvOneshot(sender), receiver)
    }
}
