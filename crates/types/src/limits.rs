//! The limits of the product, related to each other at compile time.
//!
//! A limit that depends on another says so in an assertion, so that raising one cannot silently break the other.

/// The longest topic name, in bytes (Kafka's limit).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// The longest group id, in bytes.
pub const GROUP_ID_BYTES_MAX: usize = 249;
/// The longest client id, in bytes; longer ones are cut.
pub const CLIENT_ID_BYTES_MAX: usize = 255;
/// The most partitions a topic may have.
pub const PARTITIONS_PER_TOPIC_MAX: u32 = 10_000;
/// The most partitions that one broker leads, those of the product included.
pub const PARTITIONS_PER_BROKER_MAX: u32 = 10_240;
/// The most brokers of a cluster, and so the most replicas of a partition.
pub const BROKERS_MAX: usize = 128;
/// The partitions of `__consumer_offsets`; which of them holds a group follows from this number, so it never changes.
pub const CONSUMER_OFFSETS_PARTITIONS: u32 = 16;
/// The longest metadata text of a committed offset, in bytes (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;
/// The most members of one group.
pub const GROUP_MEMBERS_MAX: usize = 4096;
/// The longest id of a member, in bytes: a client id, a dash and a UUID fit.
pub const MEMBER_ID_BYTES_MAX: usize = CLIENT_ID_BYTES_MAX + 65;
/// The longest instance id of a static member, in bytes.
pub const INSTANCE_ID_BYTES_MAX: usize = 249;
/// The longest name of a rack, in bytes.
pub const RACK_ID_BYTES_MAX: usize = 255;
/// The longest pattern that a member may subscribe by, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// The most topic names that one member may subscribe to.
pub const SUBSCRIBED_NAMES_MAX: usize = 1000;
/// The shortest session timeout of a member, in milliseconds.
pub const SESSION_TIMEOUT_MS_MIN: u64 = 1_000;
/// The session timeout of a member that does not say, in milliseconds.
pub const SESSION_TIMEOUT_MS_DEFAULT: u64 = 10_000;
/// The longest session timeout of a member, in milliseconds (Kafka's `group.max.session.timeout.ms`).
pub const SESSION_TIMEOUT_MS_MAX: u64 = 1_800_000;
/// The shortest session timeout of a member of a classic group, in milliseconds (Kafka's `group.min.session.timeout.ms`).
pub const CLASSIC_SESSION_TIMEOUT_MS_MIN: u64 = 6_000;
/// How often a member should be heard of by default, in milliseconds.
pub const HEARTBEAT_INTERVAL_MS_DEFAULT: u64 = 3_000;
/// The most groups with members, or with the memory of some, that one broker coordinates.
pub const GROUPS_PER_BROKER_MAX: usize = 20_000;
/// What the members of all groups of one broker may take together, in bytes, as they are written down.
pub const GROUP_MEMBERS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The most different patterns that the members of one broker's groups subscribe by.
pub const PATTERNS_PER_BROKER_MAX: usize = 1000;
/// What one pattern may take when it is compiled, in bytes.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 1024 * 1024;
/// Time that passes without the coordinator looking at its clock counts as no more than this, in milliseconds: a broker that
/// stood still does not take its members for dead.
pub const GROUP_CLOCK_GAP_MS_MAX: u64 = 2_000;
/// How long committed offsets are kept once nobody reads by them, in milliseconds (Kafka's `offsets.retention.minutes`, 7 days).
pub const OFFSETS_RETENTION_MS_DEFAULT: u64 = 7 * 86_400_000;
/// How long a member whose connection broke has to come back, in milliseconds.
pub const MEMBER_RECONNECT_MS: u64 = 5_000;
/// How long a member may take to let go of partitions by default, in milliseconds (Kafka's `max.poll.interval.ms`).
pub const REBALANCE_TIMEOUT_MS_DEFAULT: u64 = 300_000;
/// The longest that a member may take to let go of partitions, in milliseconds.
pub const REBALANCE_TIMEOUT_MS_MAX: u64 = 7_200_000;
/// Comparisons that the assignor for racks spends on exchanges; what it finds until then is balanced, if not ideal.
pub const RACK_COMPARISONS_MAX: usize = 1_000_000;
/// The longest kind of protocol of a classic group, in bytes.
pub const CLASSIC_PROTOCOL_TYPE_BYTES_MAX: usize = 255;
/// The most protocols that a member of a classic group may offer.
pub const CLASSIC_PROTOCOLS_MAX: usize = 32;
/// The most bytes of metadata that a member of a classic group may send with all its protocols.
pub const CLASSIC_METADATA_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of assignments that the leader of a classic group may send.
pub const CLASSIC_ASSIGNMENTS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What the members of a classic group may take together besides their assignments, in bytes: the group is one record.
pub const CLASSIC_GROUP_BYTES_MAX: usize = 3 * 1024 * 1024;
/// How long a classic group that was empty waits for more members before its first generation, in milliseconds (Kafka's
/// `group.initial.rebalance.delay.ms`).
pub const CLASSIC_INITIAL_DELAY_MS: u64 = 3_000;
/// The longest that it may be set to.
pub const CLASSIC_INITIAL_DELAY_MS_MAX: u64 = 300_000;

/// How much time lies between two samples of how a group and its producers go, in milliseconds.
pub const LAG_SAMPLE_INTERVAL_MS: u64 = 5_000;
/// How many samples are remembered of a group in a partition.
pub const LAG_SAMPLES_MAX: usize = 16;
/// How far back a sample may lie to say something of how a group goes at present, in milliseconds.
pub const LAG_WINDOW_MS: u64 = 300_000;
/// The shortest time that says something of how a group goes, in milliseconds.
pub const LAG_WINDOW_MS_MIN: u64 = 3_000;
/// Partitions of groups of which samples are remembered, over all groups: less than half a kilobyte each.
pub const LAG_WINDOWS_MAX: usize = 16_384;

const _: () = assert!(LAG_SAMPLE_INTERVAL_MS * (LAG_SAMPLES_MAX as u64) < LAG_WINDOW_MS);
// Who comes back in time is never taken for dead.
const _: () = assert!(MEMBER_RECONNECT_MS < SESSION_TIMEOUT_MS_DEFAULT);
const _: () = assert!(SESSION_TIMEOUT_MS_MIN <= SESSION_TIMEOUT_MS_DEFAULT);
// Two heartbeats may be lost.
const _: () = assert!(3 * HEARTBEAT_INTERVAL_MS_DEFAULT <= SESSION_TIMEOUT_MS_DEFAULT);
const _: () = assert!(GROUP_CLOCK_GAP_MS_MAX < MEMBER_RECONNECT_MS);
// One step may take out every member: three tombstones for each, and what is left of a batch for the targets of the others.
const _: () = assert!(
    GROUP_MEMBERS_MAX * 3 * (GROUP_ID_BYTES_MAX + MEMBER_ID_BYTES_MAX + 32) <= BATCH_BYTES_MAX / 16 * 15
);
const _: () = assert!(SESSION_TIMEOUT_MS_DEFAULT <= SESSION_TIMEOUT_MS_MAX);
const _: () = assert!(SESSION_TIMEOUT_MS_MIN <= CLASSIC_SESSION_TIMEOUT_MS_MIN);
const _: () = assert!(REBALANCE_TIMEOUT_MS_DEFAULT <= REBALANCE_TIMEOUT_MS_MAX);
// A classic group with all assignments is one record, and a record with its framing fits into a batch.
const _: () = assert!(CLASSIC_GROUP_BYTES_MAX + CLASSIC_ASSIGNMENTS_BYTES_MAX <= BATCH_BYTES_MAX / 8 * 7);
const _: () = assert!(CLASSIC_METADATA_BYTES_MAX < CLASSIC_GROUP_BYTES_MAX);

/// The largest record batch that a topic may be configured to take (`max.message.bytes`).
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// `max.message.bytes` of a topic that does not set it (Kafka's default).
pub const BATCH_BYTES_DEFAULT: usize = 1_048_588;
/// The largest batch after decompression.
pub const BATCH_DECOMPRESSED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest request that a door reads, once the memory budget has granted its bytes.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The most partitions that one produce or fetch may name.
pub const PARTITIONS_PER_REQUEST_MAX: usize = 10_000;
/// The most bytes that one fetch answers, whatever the client asks for.
pub const FETCH_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of records that a leader sends to a follower in one answer, unless the first batch is larger.
pub const REPLICA_FETCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Voters of the metadata quorum; further brokers only hear.
pub const QUORUM_VOTERS_MAX: usize = 5;
/// How many of so many brokers vote: an odd number, since one more could lose no more of them and would have to hear more.
#[must_use]
pub const fn quorum_voters(brokers: usize) -> usize {
    let count = if brokers < QUORUM_VOTERS_MAX { brokers } else { QUORUM_VOTERS_MAX };
    if count.is_multiple_of(2) { count.saturating_sub(1) } else { count }
}
/// Changes of in-sync sets that are asked of the controller at once.
pub const ALTERS_PER_PROPOSAL_MAX: usize = 1_000;
/// Bytes that one subscription may have handed to HTTP/2 and not yet written to its client, before it reads on; one message
/// more, if it is as large.
pub const SUBSCRIBE_UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Frames (of one message or several small ones) that one subscription may have handed to HTTP/2 and not yet written.
pub const SUBSCRIBE_UNSENT_FRAMES_MAX: usize = 64;
/// The most partitions that one message of a subscription tells of.
pub const SUBSCRIBE_PARTITIONS_PER_MESSAGE_MAX: usize = 1024;
/// The longest that a fetch waits for records, in milliseconds.
pub const FETCH_WAIT_MS_MAX: u64 = 60_000;
/// The longest that a produce waits for its sync, in milliseconds; also what it waits if the client says nothing.
pub const PRODUCE_TIMEOUT_MS_MAX: u64 = 30_000;
/// The most records of a batch that are named as the ones to blame when it is refused.
pub const REFUSED_RECORDS_MAX: usize = 1000;
/// The longest that an answer waits for memory, in milliseconds.
pub const MEMORY_WAIT_MS_MAX: u64 = 10_000;
/// The most headers of one record.
pub const RECORD_HEADERS_MAX: usize = 10_000;

/// The size at which a segment is rolled by default (`segment.bytes`).
pub const SEGMENT_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;
/// The smallest `segment.bytes`; small ones are for tests and exams.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// The largest `segment.bytes`: a position in a segment is a signed 32-bit number in Kafka's index.
pub const SEGMENT_BYTES_MAX: u64 = 0x7fff_ffff;
/// Log bytes between two index entries by default (`index.interval.bytes`).
pub const INDEX_INTERVAL_BYTES_DEFAULT: u64 = 4096;

/// Bytes that may be written and not yet synced in one partition, before appends wait; in every sync mode but `os`.
///
/// Recovery relies on it: damage farther than this before the last valid batch cannot be a torn tail.
pub const UNSYNCED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The shortest time that `sync.mode=interval=MS,BYTES` takes, in milliseconds: timers are no finer.
pub const SYNC_INTERVAL_MS_MIN: u32 = 1;
/// The longest time that `sync.mode=interval=MS,BYTES` takes, in milliseconds: one hour. Who wants longer wants `os`.
pub const SYNC_INTERVAL_MS_MAX: u32 = 3_600_000;
/// The fewest bytes that `sync.mode=interval=MS,BYTES` takes: one page.
pub const SYNC_INTERVAL_BYTES_MIN: u64 = 4096;
/// The most bytes that `sync.mode=interval=MS,BYTES` takes.
pub const SYNC_INTERVAL_BYTES_MAX: u64 = UNSYNCED_BYTES_MAX;
/// Damaged ranges that are listed of one log; more are reported, and answer CORRUPT, without being listed.
pub const DAMAGED_RANGES_PER_LOG_MAX: usize = 64;
/// Within this long every sealed byte is read back from the medium and checked, in milliseconds: seven days.
pub const SCRUB_WITHIN_MS: u64 = 7 * 86_400_000;
/// How long the scrub takes for one pass over all sealed bytes, in milliseconds. What a pass has just gone by waits for
/// the end of the next one, so two passes (and the time that a broker is down between) must fit into the seven days.
pub const SCRUB_PASS_MS: u64 = 3 * 86_400_000;
/// The pace below which the scrub never falls while a pass is under way, in bytes per second: small directories are soon
/// through, and rest until the next pass is due.
pub const SCRUB_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
/// The most bytes that the scrub reads in one step of the janitor, so that it never disturbs.
pub const SCRUB_STEP_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Logs that retention shortens in one step of the janitor: each costs a handful of syncs of small files.
pub const RETENTION_LOGS_PER_STEP_MAX: usize = 32;
/// Segments that retention unlinks in one step of the janitor.
pub const RETENTION_SEGMENTS_PER_STEP_MAX: usize = 256;
/// `retention.ms` of a topic that is made because somebody wrote to it: seven days (Kafka's default). A topic that is created
/// on purpose keeps everything unless it says otherwise.
pub const RETENTION_MS_AUTO_CREATED: u64 = 7 * 86_400_000;
/// A wall clock that moved this much more or less than the monotonic one, in milliseconds, was set: ages by it mean nothing.
pub const CLOCK_JUMP_MS: i64 = 600_000;
/// The keys that one pass of compaction remembers, as hashes of 16 bytes with an offset: some 35 MiB. A log with more dirty keys
/// is compacted in several passes.
pub const COMPACTION_KEYS_MAX: usize = (1 << 20) / 8 * 7;
/// Bytes per second that compaction and the scrub may read and write together, less what is appended in that second.
pub const BACKGROUND_BYTES_PER_SECOND: u64 = 64 * 1024 * 1024;
/// What is left to them in bytes per second however much is appended.
pub const BACKGROUND_BYTES_PER_SECOND_MIN: u64 = 4 * 1024 * 1024;
/// The most bytes that they read and write in one step of the janitor.
pub const BACKGROUND_STEP_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Requests that may wait in one partition's append queue.
pub const APPEND_QUEUE_MAX: usize = 1024;
/// Bytes at which one partition's append queue is full. A batch stays in it when its caller has given up the wait, and
/// with it the memory that was granted.
pub const APPEND_QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Batches of one producer in one partition whose retries are recognised (Kafka's window).
pub const PRODUCER_WINDOW: usize = 5;
/// Idempotent producers remembered per partition, the idle ones forgotten first.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 100_000;
/// How long an idle producer is remembered by default (`producer.id.expiration.ms`): one day.
pub const PRODUCER_ID_EXPIRATION_MS: i64 = 86_400_000;
/// Producer ids that are handed out from one metadata record.
pub const PRODUCER_ID_BLOCK: u32 = 1000;
/// The memory budget of a broker by default, in bytes.
pub const MEMORY_BUDGET_BYTES_DEFAULT: u64 = 512 * 1024 * 1024;

/// How full a file system is, in percent, when the log begins to say so.
pub const STORAGE_LOW_PERCENT: u64 = 85;
/// How full it is when nothing is made ahead of need any more.
pub const STORAGE_SCARCE_PERCENT: u64 = 90;
/// How full it is when produce and new topics are refused.
pub const STORAGE_FULL_PERCENT: u64 = 95;
/// How far below a mark the use has to fall, in percent of the file system, before the level falls with it.
pub const STORAGE_HYSTERESIS_PERCENT: u64 = 1;
/// What commits and metadata keep to themselves of a full file system. A small one keeps less: what lies above
/// [`STORAGE_FULL_PERCENT`].
pub const STORAGE_RESERVE_BYTES: u64 = 256 * 1024 * 1024;
/// The part of the reserve that committed offsets leave to metadata, without which no topic could be deleted: one in this
/// many.
pub const STORAGE_RESERVE_METADATA_SHARE: u64 = 2;
/// What the small files of a segment take at most beside its indexes, once it is sealed.
pub const SEGMENT_FILES_BYTES: u64 = 16 * 1024;
/// What the files of a new partition take at most before its first record.
pub const PARTITION_FILES_BYTES: u64 = 16 * 1024;

// The levels come one after the other, and each can be left again.
const _: () = assert!(STORAGE_LOW_PERCENT + STORAGE_HYSTERESIS_PERCENT < STORAGE_SCARCE_PERCENT);
const _: () = assert!(STORAGE_SCARCE_PERCENT + STORAGE_HYSTERESIS_PERCENT < STORAGE_FULL_PERCENT);
const _: () = assert!(STORAGE_FULL_PERCENT < 100 && STORAGE_RESERVE_METADATA_SHARE > 1);
/// The most files of partition logs that one data directory keeps open, however many the process may have; the least
/// recently used are closed, and opened again when they are needed.
pub const LOG_FILES_OPEN_MAX: usize = 16_384;
/// The share of a process's open files that the logs may take: one part in this many. The rest is for connections, and
/// for what is open for a moment.
pub const LOG_FILES_OPEN_SHARE: u64 = 2;
/// The most maps of sealed segments and their indexes that one data directory keeps, the least recently used let go
/// first. What was handed out of one keeps it for as long as the answer lives.
pub const LOG_MAPS_MAX: usize = 32_768;
/// The share of a process's maps that the logs may keep: one part in this many.
pub const LOG_MAPS_SHARE: u64 = 2;
/// What is kept whatever the process may have: below this every request would open its files anew.
pub const LOG_HANDLES_MIN: usize = 16;

// The largest topic must fit beside the product's own partitions.
const _: () = assert!(PARTITIONS_PER_TOPIC_MAX + CONSUMER_OFFSETS_PARTITIONS < PARTITIONS_PER_BROKER_MAX);
// A batch must fit into the unsynced window twice, or one append could wait for itself.
const _: () = assert!(2 * BATCH_BYTES_MAX as u64 <= UNSYNCED_BYTES_MAX);
// What an interval lets be acknowledged and unsynced may be written and unsynced.
const _: () = assert!(SYNC_INTERVAL_BYTES_MAX <= UNSYNCED_BYTES_MAX);
// A record must not wait for longer than two passes.
const _: () = assert!(2 * SCRUB_PASS_MS < SCRUB_WITHIN_MS);
// The queue must hold what the next write may take, or the writer would wait for its callers.
const _: () = assert!(UNSYNCED_BYTES_MAX <= APPEND_QUEUE_BYTES_MAX as u64);
// A request must be able to carry the largest batch.
const _: () = assert!(BATCH_BYTES_MAX < REQUEST_BYTES_MAX);
// The default batch must be a legal one.
const _: () = assert!(BATCH_BYTES_DEFAULT <= BATCH_BYTES_MAX);
// An answer must be able to carry the first batch whatever the byte budget says.
const _: () = assert!(BATCH_BYTES_MAX <= FETCH_BYTES_MAX);
// Whatever fits into a segment has a position that Kafka's index can name.
const _: () = assert!(SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
// A batch decompressed stays within what one request may hold in memory.
const _: () = assert!(BATCH_BYTES_MAX < BATCH_DECOMPRESSED_BYTES_MAX);
/// Pieces of blocking work (cold reads, syncs) that run at once on the I/O pool of a runtime; more wait their turn.
pub const IO_POOL_MAX: usize = 64;
/// Bytes that an answer may copy out of the page cache where it is made, without the hop to the pool and back. Copying
/// them holds other calls up for a fraction of a millisecond.
pub const READ_IN_PLACE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of one segment from which on the kernel is told to send them from the file. Fewer are cheaper to copy.
pub const FILE_RANGE_BYTES_MIN: usize = 128 * 1024;

// The largest request must be grantable from the default budget.
const _: () = assert!((REQUEST_BYTES_MAX as u64) < MEMORY_BUDGET_BYTES_DEFAULT);

/// Groups whose lag has series of its own in the metrics, the first by name.
pub const METRIC_GROUPS_MAX: usize = 100;
/// Partitions that those groups may have committed together; who comes behind it by name is not shown whole.
pub const METRIC_GROUP_PARTITIONS_MAX: usize = 20_000;
/// Topics that have series of their own in the metrics, the first by name; all others are added up.
pub const METRIC_TOPICS_MAX: usize = 100;
/// Connections that one door holds at once; more are closed as soon as they are accepted.
pub const CONNECTIONS_MAX: usize = 10_000;
/// Requests of one produce stream that may be appended and not yet acknowledged; the next is read when one of them is.
pub const PRODUCE_STREAM_IN_FLIGHT_MAX: usize = 256;
/// HTTP/2 streams that one connection may have open, which are its calls in flight.
pub const HTTP_STREAMS_MAX: u32 = 100;
/// The largest HTTP/2 frame that we read. Large ones are what makes gRPC fast: it copies per frame.
pub const HTTP_FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Bytes of one HTTP/2 stream that may be on their way to us before we have read them.
pub const HTTP_STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Bytes of one HTTP/2 connection that may be on their way to us before we have read them.
pub const HTTP_CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes that the windows of all connections of a door may take together, if the memory budget has that much for them. The first
/// connections get the whole window, later ones less, so that what clients may send unasked stays bounded however many they are.
pub const HTTP_WINDOWS_BYTES_MAX: u32 = 256 * 1024 * 1024;
/// The window of a connection for which nothing is left: what HTTP/2 gives every connection (RFC 9113, 6.9.2).
pub const HTTP_WINDOW_BYTES_MIN: u32 = 65_535;
/// The most bytes of headers that one HTTP request may have.
pub const HTTP_HEADER_LIST_BYTES_MAX: u32 = 16 * 1024;
/// The largest message that calls without data (health, reflection) may carry.
pub const SIDE_MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// The most partitions, records and headers that one message of the native API may hold together: each is a hundred bytes
/// in memory, and may be two on the wire.
pub const MESSAGE_ELEMENTS_MAX: usize = 262_144;
/// The largest message of a member of a group: a list of what it owns, or of what it reads.
pub const MEMBER_MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The most topics that one message of a member may name, and whatever else repeats in it.
pub const MEMBER_MESSAGE_ELEMENTS_MAX: usize = 2 * PARTITIONS_PER_REQUEST_MAX;
/// Messages of members up to this size, in bytes, do not wait in the line for the memory budget: who holds that up for long with
/// produces must not make members seem dead.
pub const MEMBER_SMALL_MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// What those messages may take together beside the memory budget, in bytes.
pub const MEMBER_MESSAGES_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How often a member may speak on and on, in milliseconds; one that speaks faster waits for its turn.
pub const MEMBER_MESSAGE_INTERVAL_MS: u64 = 50;
/// Messages that a member may send at once after it was silent for a while.
pub const MEMBER_MESSAGES_AT_ONCE_MAX: u32 = 40;
/// What a request costs of the memory budget besides its bytes: its place in maps and queues.
pub const REQUEST_OVERHEAD_BYTES: usize = 1024;

// A member can say that it owns as many partitions as may be, each of a topic of its own: by id, with all framing, less than
// 40 bytes.
const _: () = assert!(PARTITIONS_PER_REQUEST_MAX * 40 <= MEMBER_MESSAGE_BYTES_MAX);
const _: () = assert!(SUBSCRIBED_NAMES_MAX * (TOPIC_NAME_BYTES_MAX + 3) <= MEMBER_MESSAGE_BYTES_MAX);
const _: () = assert!(PARTITIONS_PER_REQUEST_MAX + SUBSCRIBED_NAMES_MAX < MEMBER_MESSAGE_ELEMENTS_MAX);
// A message may name as many partitions as a request may, and a record in each.
const _: () = assert!(3 * PARTITIONS_PER_REQUEST_MAX < MESSAGE_ELEMENTS_MAX);
// One connection must not be able to fill the windows of all its streams and then some.
const _: () = assert!(HTTP_STREAM_WINDOW_BYTES <= HTTP_CONNECTION_WINDOW_BYTES);
// A frame has to fit into the window of its stream.
const _: () = assert!(HTTP_FRAME_BYTES_MAX <= HTTP_STREAM_WINDOW_BYTES);

/// The largest snapshot of the metadata quorum, in bytes.
pub const QUORUM_SNAPSHOT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest message of a broker to another, in bytes, but for answers with records and for what travels in parts.
pub const PEER_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What voters say to each other travels in parts of so many bytes, if it is larger than one of them.
pub const PEER_PART_BYTES: usize = 1024 * 1024;
/// The most bytes of what travels in parts: a snapshot and what says whose it is.
pub const PEER_PARTS_BYTES_MAX: usize = QUORUM_SNAPSHOT_BYTES_MAX + PEER_PART_BYTES;
/// Requests in parts that a broker takes in at once.
pub const PEER_PARTS_AT_ONCE_MAX: usize = 2;
/// The most bytes that a leader answers a follower: what may be fetched, one batch over it, and what surrounds them.
pub const PEER_FETCH_BYTES_MAX: usize = FETCH_BYTES_MAX + BATCH_BYTES_MAX + 4 * 1024 * 1024;
/// The longest that a leader waits until it has something to say to a follower, in milliseconds.
pub const PEER_FETCH_WAIT_MS_MAX: u64 = 10_000;
/// Calls of one broker to another that may be under way on one connection; more wait.
pub const PEER_STREAMS_MAX: u32 = 1024;
/// Connections of other brokers that one broker holds at once: two of each, and as many that are about to break.
pub const PEER_CONNECTIONS_MAX: usize = 4 * BROKERS_MAX;
/// Addresses of brokers to which connections are kept: all there may be, and as many that are not in use any more.
pub const PEER_ADDRESSES_MAX: usize = 2 * BROKERS_MAX;
/// Bytes of the text of an error that one broker tells another; the rest is cut off. It travels in headers, four times.
pub const PEER_ERROR_TEXT_BYTES_MAX: usize = 4096;
/// The most bytes of headers that a broker takes of another.
pub const PEER_HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

// A broker can tell of all partitions that it may have, each with less than 64 bytes.
const _: () = assert!(64 * PARTITIONS_PER_BROKER_MAX as usize <= PEER_MESSAGE_BYTES_MAX);
// A follower can ask for as many partitions as may be, and hear of each.
const _: () = assert!(128 * PARTITIONS_PER_REQUEST_MAX <= 4 * 1024 * 1024);
const _: () = assert!(PEER_PART_BYTES < PEER_MESSAGE_BYTES_MAX);
const _: () = assert!(4 * PEER_ERROR_TEXT_BYTES_MAX * 4 / 3 < PEER_HEADER_LIST_BYTES_MAX as usize);

/// The largest frame that the Kafka door reads of a client that has not been understood yet. Old clients begin a connection
/// with a produce, so that the largest batch must fit.
pub const KAFKA_FIRST_FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + 64 * 1024;
/// The most elements (topics, partitions, configs, tagged fields) that one request of Kafka's protocol may have; each
/// [`KAFKA_ELEMENT_TEXT_BYTES`] of text count as one more. As many topics as a broker has partitions, and a partition in each.
pub const KAFKA_REQUEST_ELEMENTS_MAX: usize = 2 * PARTITIONS_PER_BROKER_MAX as usize;
/// The longest text of a request of Kafka's protocol, in bytes (Kafka's own bound).
pub const KAFKA_TEXT_BYTES_MAX: usize = 32_767;
/// Bytes of text that count as one element: it is copied when it is decoded, and may be repeated in the answer.
pub const KAFKA_ELEMENT_TEXT_BYTES: usize = 128;
/// What an element costs of the memory budget, in bytes, from its decoding until it is answered: itself, the broker's question,
/// and its answer.
pub const KAFKA_ELEMENT_BYTES: usize = 1024;
/// Elements for which memory is taken together with that of the frame; who has more waits for more once the frame is there.
pub const KAFKA_ELEMENTS_WITH_FRAME: usize = 32;
/// Of the memory budget, what is kept for requests that turn out to need more than they were granted: otherwise they could
/// all wait for each other. The largest must fit.
pub const MEMORY_RESERVE_BYTES: usize = KAFKA_REQUEST_ELEMENTS_MAX * KAFKA_ELEMENT_BYTES;
/// What a partition costs of the memory budget in an answer that lays out topics, in bytes.
pub const KAFKA_LAYOUT_BYTES: usize = 512;
/// What a topic costs of the memory budget in an answer that lists all of its configs, in bytes.
pub const KAFKA_NEW_TOPIC_BYTES: usize = 4096;
/// The most idempotent producers that one answer tells of: as many as one partition remembers.
pub const PRODUCERS_DESCRIBED_MAX: usize = PRODUCERS_PER_PARTITION_MAX;
/// What such a producer costs of the memory budget, in bytes, from when it is copied until it is sent.
pub const PRODUCER_ENTRY_BYTES: usize = 192;
/// Partitions that the fetch sessions of the Kafka door remember together.
pub const KAFKA_SESSION_PARTITIONS_MAX: usize = 65_536;
/// What such a partition costs of the memory budget for as long as it is remembered, in bytes: what is asked of it, what was told, its
/// name and its place.
pub const KAFKA_SESSION_PARTITION_BYTES: usize = 512;
/// What a config costs of the memory budget in an answer that describes it, in bytes: with its documentation and synonyms.
pub const KAFKA_CONFIG_BYTES: usize = 640;
/// Requests of one connection of the Kafka door that may be under way; the next is read when one of them is answered.
pub const KAFKA_IN_FLIGHT_MAX: u32 = 64;
/// Bytes that the Kafka door reads ahead of what it has memory granted for, per connection.
pub const KAFKA_READ_AHEAD_BYTES: usize = 32 * 1024;
/// How long a connection of the Kafka door may be silent, in milliseconds (Kafka's `connections.max.idle.ms`).
pub const KAFKA_IDLE_MS_MAX: u64 = 600_000;

// A request may name as many partitions as a request may, each in a topic of its own.
const _: () = assert!(2 * PARTITIONS_PER_REQUEST_MAX <= KAFKA_REQUEST_ELEMENTS_MAX);
// The layout of everything that a broker has fits into the reserve.
const _: () = assert!(PARTITIONS_PER_BROKER_MAX as usize * KAFKA_LAYOUT_BYTES <= MEMORY_RESERVE_BYTES);
// The producers of one partition fit into the reserve.
const _: () = assert!(PRODUCERS_DESCRIBED_MAX * PRODUCER_ENTRY_BYTES <= MEMORY_RESERVE_BYTES);
// A client that was understood may send what one that was not may send, and more.
const _: () = assert!(KAFKA_FIRST_FRAME_BYTES_MAX <= REQUEST_BYTES_MAX);
