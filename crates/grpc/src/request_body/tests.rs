//! Bodies cut in every way, and what they cost.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;

use futures::{FutureExt, StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use millrace_types::limits::{REQUEST_BYTES_MAX, SIDE_MESSAGE_BYTES_MAX};

use super::*;

const fn route(messages: Messages, message_bytes_max: usize) -> Route {
    Route { messages, message_bytes_max, is_paced: false, is_member: false, name: "" }
}

const ONE: Route = route(Messages::One, REQUEST_BYTES_MAX);
const CLAIMED: Route = route(Messages::Claimed, REQUEST_BYTES_MAX);
const SIDE: Route = route(Messages::OneAtATime, SIDE_MESSAGE_BYTES_MAX);

fn admission(budget_bytes: u64) -> Admission {
    let clock = millrace_env::real::env().clock;
    let members = MemoryBudget::new(1 << 20);
    Admission { budget: MemoryBudget::new(budget_bytes), members, clock, message_patience: Duration::ZERO }
}

#[test]
fn a_small_message_of_a_member_does_not_wait_for_the_budget_of_all() {
    let (admission, permits) = (admission(0), Arc::default());
    let member = Route { is_member: true, ..CLAIMED };
    let small = message(&[7; MEMBER_SMALL_MESSAGE_BYTES_MAX]);
    assert_eq!(read(frames(&[&small]), member, &admission, &permits).unwrap(), small);
    assert_eq!(admission.members.in_use(), (MEMBER_SMALL_MESSAGE_BYTES_MAX + REQUEST_OVERHEAD_BYTES) as u64);
    drop(permits.claim());
    assert_eq!(admission.members.in_use(), 0);
    let large = message(&[7; MEMBER_SMALL_MESSAGE_BYTES_MAX + 1]);
    for (route, bytes) in [(member, large), (CLAIMED, small)] {
        let refused = read(frames(&[&bytes]), route, &admission, &permits).unwrap_err();
        assert_eq!(code_of(&refused), ErrorCode::RequestTooLarge, "it asks the budget of all");
    }
}

fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), bytes].concat()
}

type Frames = Vec<Result<Frame<Bytes>, Infallible>>;

fn frames(parts: &[&[u8]]) -> Frames {
    parts.iter().map(|part| Ok(Frame::data(Bytes::copy_from_slice(part)))).collect()
}

/// Reads a body that comes whole to its end, or to its error.
fn read(
    frames: Frames,
    route: Route,
    admission: &Admission,
    permits: &Arc<CallPermits>,
) -> Result<Vec<u8>, Status> {
    let body = StreamBody::new(stream::iter(frames));
    let body = AdmittedBody::new(body, route, admission.clone(), Arc::clone(permits));
    body.collect().now_or_never().expect("nothing to wait for").map(|whole| whole.to_bytes().to_vec())
}

fn code_of(status: &Status) -> ErrorCode {
    millrace_proto::error_of(status).unwrap().known_code().unwrap()
}

#[test]
fn messages_come_through_wherever_frames_cut_them() {
    let whole = [message(b"one"), message(b""), message(&[7; 300])].concat();
    for cut in 0..whole.len() {
        let (admission, permits) = (admission(1 << 20), Arc::default());
        let (head, tail) = whole.split_at(cut);
        let read = read(frames(&[head, tail]), CLAIMED, &admission, &permits).unwrap();
        assert_eq!(read, whole, "cut at {cut}");
        let claimed: Vec<_> = std::iter::from_fn(|| permits.claim()).map(|permit| permit.bytes()).collect();
        assert_eq!(claimed, [3, 0, 300].map(|bytes| bytes + REQUEST_OVERHEAD_BYTES), "cut at {cut}");
        assert_eq!(admission.budget.in_use(), 0);
    }
}

#[test]
fn byte_by_byte_is_the_same() {
    let whole = [message(b"hello"), message(b"you")].concat();
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    let (admission, permits) = (admission(1 << 20), Arc::default());
    assert_eq!(read(frames(&bytes), CLAIMED, &admission, &permits).unwrap(), whole);
}

#[test]
fn a_body_that_ends_in_a_message_is_refused_wherever_it_ends() {
    let whole = message(b"hello");
    for length in 1..whole.len() {
        let (admission, permits) = (admission(1 << 20), Arc::default());
        let status = read(frames(&[&whole[..length]]), ONE, &admission, &permits).unwrap_err();
        assert_eq!(code_of(&status), ErrorCode::InvalidRequest, "{length}");
        drop(permits);
        assert_eq!(admission.budget.in_use(), 0);
    }
}

#[test]
fn what_must_not_be_read_costs_nothing() {
    let [a, b, c, d] = u32::try_from(REQUEST_BYTES_MAX + 1).unwrap().to_be_bytes();
    let cases = [
        ([0, 0xff, 0xff, 0xff, 0xff], ErrorCode::RequestTooLarge),
        ([0, a, b, c, d], ErrorCode::RequestTooLarge),
        ([1, 0, 0, 0, 1], ErrorCode::Unsupported),
        ([9, 0, 0, 0, 1], ErrorCode::Unsupported),
    ];
    for (prefix, code) in cases {
        let (admission, permits) = (admission(1 << 30), Arc::default());
        let status = read(frames(&[&prefix, b"more"]), ONE, &admission, &permits).unwrap_err();
        assert_eq!(code_of(&status), code, "{prefix:?}");
        assert_eq!((permits.claim().is_none(), admission.budget.in_use()), (true, 0));
    }
}

#[test]
fn a_call_of_one_message_does_not_take_two() {
    let whole = [message(b"a"), message(b"b")].concat();
    let (admission, permits) = (admission(1 << 20), Arc::default());
    let status = read(frames(&[&whole]), ONE, &admission, &permits).unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::InvalidRequest);
}

#[test]
fn a_side_call_holds_one_message_at_a_time() {
    let whole = [message(b"a"), message(b"bc"), message(b"d")].concat();
    let (admission, permits) = (admission(1 << 20), Arc::default());
    read(frames(&[&whole]), SIDE, &admission, &permits).unwrap();
    assert_eq!(admission.budget.in_use(), 1 + REQUEST_OVERHEAD_BYTES as u64);
    let large = message(&[0; SIDE_MESSAGE_BYTES_MAX + 1]);
    let status = read(frames(&[&large]), SIDE, &admission, &permits).unwrap_err();
    assert_eq!(code_of(&status), ErrorCode::RequestTooLarge);
}

#[test]
fn nothing_of_a_message_is_handed_on_before_its_bytes_are_granted() {
    let (admission, permits) = (admission(2000), Arc::<CallPermits>::default());
    let taken = admission.budget.acquire(1500).now_or_never().unwrap().unwrap();
    let body = StreamBody::new(stream::iter(frames(&[&message(b"hello")])).chain(stream::pending()));
    let mut body = pin!(AdmittedBody::new(body, ONE, admission.clone(), permits));
    let mut next = || poll_fn(|cx| body.as_mut().poll_frame(cx)).now_or_never();
    assert!(next().is_none());
    drop(taken);
    let frame = next().expect("granted").unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), message(b"hello"));
}

#[tokio::test]
async fn a_client_that_stops_in_a_message_is_not_waited_for() {
    let whole = message(b"hello");
    for length in 1..whole.len() {
        let (admission, permits) = (admission(1 << 20), Arc::default());
        let body = StreamBody::new(stream::iter(frames(&[&whole[..length]])).chain(stream::pending()));
        let body = AdmittedBody::new(body, ONE, admission.clone(), permits);
        let status = body.collect().await.unwrap_err();
        assert_eq!(code_of(&status), ErrorCode::InvalidRequest, "{length}");
        assert_eq!(admission.budget.in_use(), 0);
    }
}
