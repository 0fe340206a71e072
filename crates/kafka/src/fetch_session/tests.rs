//! Tests of the sessions by themselves: their numbers, their room, their line.

use millrace_env::real;

use super::*;

fn topic(name: &str, partitions: &[i32]) -> FetchTopic {
    let partition = |number: &i32| FetchPartition { partition: *number, ..FetchPartition::default() };
    FetchTopic {
        topic: name.to_owned(),
        partitions: partitions.iter().map(partition).collect(),
        ..FetchTopic::default()
    }
}

fn forgotten(name: &str, partitions: &[i32]) -> ForgottenTopic {
    ForgottenTopic { topic: name.to_owned(), partitions: partitions.to_vec(), ..ForgottenTopic::default() }
}

fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest { session_id, session_epoch, topics, ..FetchRequest::default() }
}

struct Door {
    room: Arc<SessionRoom>,
    sessions: Sessions,
    rng: Arc<dyn Rng>,
}

impl Door {
    fn new(budget: u64) -> Door {
        let room = SessionRoom::new(&MemoryBudget::new(budget));
        Door { room, sessions: Sessions::default(), rng: real::env().rng }
    }

    fn enter(&self, mut request: FetchRequest) -> Result<(Within, Vec<(String, i32)>), KafkaError> {
        let within = self.sessions.enter(&self.room, &*self.rng, &mut request, false)?;
        let named = request
            .topics
            .iter()
            .flat_map(|topic| topic.partitions.iter().map(|asked| (topic.topic.clone(), asked.partition)));
        Ok((within, named.collect()))
    }

    /// Begins a session of partitions of one topic.
    fn begin(&self, partitions: &[i32]) -> i32 {
        let (within, _) = self.enter(request(0, 0, vec![topic("a", partitions)])).unwrap();
        let id = within.id();
        self.sessions.leave(within);
        id
    }
}

fn data(partition_index: i32, records: &'static [u8], high_watermark: i64) -> PartitionData {
    let records = Some(bytes::Bytes::from_static(records));
    PartitionData { partition_index, records, high_watermark, ..PartitionData::default() }
}

#[test]
fn a_session_counts_its_requests_and_takes_no_other_number() {
    let door = Door::new(1 << 30);
    let id = door.begin(&[0, 1]);
    assert!(id > 0);
    for epoch in [2, 0x7fff_ffff, -2] {
        let refused = door.enter(request(id, epoch, Vec::new())).unwrap_err();
        assert_eq!(refused, KafkaError::InvalidFetchSessionEpoch, "{epoch}");
    }
    for epoch in 1..5 {
        let (within, named) = door.enter(request(id, epoch, Vec::new())).unwrap();
        assert_eq!((within.id(), named.len()), (id, 2));
        door.sessions.leave(within);
    }
    assert_eq!(door.enter(request(id + 1, 1, Vec::new())).unwrap_err(), KafkaError::FetchSessionIdNotFound);
    let mut by_id = request(id, 5, Vec::new());
    let refused = door.sessions.enter(&door.room, &*door.rng, &mut by_id, true).unwrap_err();
    assert_eq!(refused, KafkaError::FetchSessionTopicIdError);
    let (within, _) = door.enter(request(id, FINAL, vec![topic("a", &[0])])).unwrap();
    assert_eq!(within.id(), NO_SESSION);
    assert_eq!(door.enter(request(id, 5, Vec::new())).unwrap_err(), KafkaError::FetchSessionIdNotFound);
}

#[test]
fn after_the_largest_epoch_comes_one() {
    let door = Door::new(1 << 30);
    let (within, _) = door.enter(request(0, 0, vec![topic("a", &[0])])).unwrap();
    let Within::New(mut session) = within else { panic!("no session") };
    let id = session.id;
    session.next_epoch = i32::MAX;
    door.sessions.put(session);
    let (within, _) = door.enter(request(id, i32::MAX, Vec::new())).unwrap();
    door.sessions.leave(within);
    assert!(door.enter(request(id, 1, Vec::new())).is_ok());
}

#[test]
fn partitions_are_taken_up_and_forgotten_and_none_left_is_no_session() {
    let door = Door::new(1 << 30);
    let id = door.begin(&[0, 1]);
    let mut change = request(id, 1, vec![topic("b", &[7]), topic("a", &[1])]);
    change.forgotten_topics_data = vec![forgotten("a", &[0, 5]), forgotten("c", &[0])];
    let (within, named) = door.enter(change).unwrap();
    assert_eq!(named, [("a".to_owned(), 1), ("b".to_owned(), 7)]);
    door.sessions.leave(within);
    let mut last = request(id, 2, Vec::new());
    last.forgotten_topics_data = vec![forgotten("a", &[1]), forgotten("b", &[7])];
    let (within, named) = door.enter(last).unwrap();
    assert_eq!((within.id(), named.len()), (NO_SESSION, 0));
    assert_eq!(door.enter(request(id, 3, Vec::new())).unwrap_err(), KafkaError::FetchSessionIdNotFound);
}

#[test]
fn only_news_is_told_and_who_had_records_goes_to_the_end_of_the_line() {
    let door = Door::new(1 << 30);
    let asked = topic("a", &[0, 1, 2]);
    let (mut within, _) = door.enter(request(0, 0, vec![asked.clone()])).unwrap();
    let id = within.id();
    assert!((0..3).all(|partition| within.tells(&asked, &data(partition, b"", 5))), "all is told once");
    door.sessions.leave(within);
    let (mut within, _) = door.enter(request(id, 1, Vec::new())).unwrap();
    assert!(within.tells(&asked, &data(0, b"records", 5)));
    assert!(!within.tells(&asked, &data(1, b"", 5)));
    assert!(within.tells(&asked, &data(2, b"", 6)), "the high watermark has moved");
    door.sessions.leave(within);
    let (mut within, named) = door.enter(request(id, 2, Vec::new())).unwrap();
    let line: Vec<_> = named.iter().map(|(_, partition)| *partition).collect();
    assert_eq!(line, [1, 2, 0]);
    let failed = PartitionData { error_code: 3, ..data(1, b"", 5) };
    assert!(within.tells(&asked, &failed) && within.tells(&asked, &failed), "an error is told every time");
    assert!(within.tells(&asked, &data(1, b"", 5)), "and so is its end");
    assert!(!within.tells(&asked, &data(1, b"", 5)));
}

#[test]
fn a_connection_has_a_few_sessions_and_the_oldest_makes_room() {
    let door = Door::new(1 << 30);
    let ids: Vec<_> = (0..SESSIONS_MAX + 1).map(|_| door.begin(&[0])).collect();
    assert_eq!(door.enter(request(ids[0], 1, Vec::new())).unwrap_err(), KafkaError::FetchSessionIdNotFound);
    assert!(ids.iter().skip(1).all(|id| door.enter(request(*id, 1, Vec::new())).is_ok()));
}

#[test]
fn without_room_there_is_no_session_and_the_room_comes_back() {
    let partitions: Vec<i32> = (0..64).collect();
    // Room for 100 partitions.
    let door = Door::new((100 * KAFKA_SESSION_PARTITION_BYTES * BUDGET_PARTS) as u64);
    let held = || door.room.budget.in_use();
    let id = door.begin(&partitions);
    assert!(id > 0 && held() == (64 * KAFKA_SESSION_PARTITION_BYTES) as u64);
    assert_eq!(door.begin(&partitions), NO_SESSION, "it is answered all the same");
    let more: Vec<i32> = (64..128).collect();
    let refused = door.enter(request(id, 1, vec![topic("a", &more)])).unwrap_err();
    assert_eq!(
        (refused, held()),
        (KafkaError::FetchSessionIdNotFound, 0),
        "a session that finds no room ends"
    );
    let id = door.begin(&partitions);
    let (within, named) = door.enter(request(id, 1, vec![topic("a", &[70, 0, 1])])).unwrap();
    assert_eq!((named.len(), held()), (65, (80 * KAFKA_SESSION_PARTITION_BYTES) as u64));
    drop(within);
    assert_eq!(held(), 0);
    let long = "x".repeat(200 * KAFKA_SESSION_PARTITION_BYTES);
    let (within, _) = door.enter(request(0, 0, vec![topic(&long, &[0])])).unwrap();
    assert_eq!(within.id(), NO_SESSION, "a long name counts as many");
}
