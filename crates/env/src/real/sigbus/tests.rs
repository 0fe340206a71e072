//! Files that are shortened under their maps, and a signal that is nobody's.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Arc;

use crate::Map;
use crate::real::map::map;

const BYTES: usize = 256 * 1024;
/// Set for the child that is to be killed.
const CHILD: &str = "MILLRACE_TEST_SIGBUS";

fn file_of(byte: u8) -> Arc<File> {
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![byte; BYTES], 0).unwrap();
    Arc::new(file)
}

#[test]
fn a_touch_beyond_a_shortened_file_finds_zeros_and_a_mark() {
    let file = file_of(7);
    let shortened = map(&file, BYTES as u64).unwrap();
    let other = map(&file_of(9), BYTES as u64).unwrap();
    assert!(shortened.is_intact());
    file.set_len(8192).unwrap();
    assert!(shortened.bytes()[..8192].iter().all(|byte| *byte == 7) && shortened.is_intact());
    assert!(
        shortened.bytes()[8192..].iter().all(|byte| *byte == 0),
        "every page, each by a fault of its own"
    );
    assert!(!shortened.is_intact());
    assert!(shortened.bytes()[..8192].iter().all(|byte| *byte == 7), "what is there stays");
    assert!(other.is_intact() && other.bytes().iter().all(|byte| *byte == 9));
}

#[test]
fn a_mark_does_not_outlive_its_map() {
    for _ in 0..50 {
        let file = file_of(1);
        let first = map(&file, BYTES as u64).unwrap();
        file.set_len(0).unwrap();
        assert_eq!((first.bytes()[BYTES - 1], first.is_intact()), (0, false));
        drop(first);
        let second = map(&file_of(2), BYTES as u64).unwrap();
        assert_eq!((second.bytes()[BYTES - 1], second.is_intact()), (2, true));
    }
}

#[test]
fn many_threads_may_touch_what_is_gone_while_maps_come_and_go() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let file = file_of(3);
                    let shortened: Arc<dyn Map> = map(&file, BYTES as u64).unwrap();
                    file.set_len(4096).unwrap();
                    std::thread::scope(|inner| {
                        for _ in 0..2 {
                            inner.spawn(|| {
                                let touched = shortened.bytes()[4096..].iter().map(|byte| u64::from(*byte));
                                assert_eq!(touched.sum::<u64>(), 0);
                                assert!(!shortened.is_intact());
                            });
                        }
                    });
                }
            });
        }
    });
}

/// The child of the test below: it has a guarded map, and faults in another one.
#[test]
fn a_fault_that_is_not_ours_still_ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        let _ours = map(&file_of(1), BYTES as u64).unwrap();
        let file = file_of(2);
        #[expect(unsafe_code, reason = "a map that nobody guards")]
        // SAFETY: the file is shortened under it, on purpose: that is the fault.
        let unguarded = unsafe { memmap2::Mmap::map(&*file) }.unwrap();
        file.set_len(0).unwrap();
        let read = std::hint::black_box(&unguarded)[BYTES - 1];
        panic!("read {read}");
    }
    let name = "real::sigbus::tests::a_fault_that_is_not_ours_still_ends_the_process";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap().status;
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}

#[test]
fn a_signal_that_somebody_sends_still_ends_the_process() {
    if std::env::var_os(CHILD).is_some() {
        let _ours = map(&file_of(1), BYTES as u64).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::BUS).unwrap();
        panic!("alive");
    }
    let name = "real::sigbus::tests::a_signal_that_somebody_sends_still_ends_the_process";
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap().status;
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}
