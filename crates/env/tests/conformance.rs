//! What every file system must do, asked of the real one (in a temporary directory) and of the simulated one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};

use millrace_env::counting::{Calls, Counting};
use millrace_env::sim::{Sim, SimDisk, Transfers};
use millrace_env::{EntryKind, Fs, FsExt, OpenMode, real};

/// Runs `check` on each implementation, in an empty directory.
fn on_each(check: impl Fn(&dyn Fs, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    eprintln!("on the real file system");
    check(&real::RealFs, directory.path());

    let directory = tempfile::tempdir().unwrap();
    eprintln!("on the real file system, counted");
    check(&Counting::new(real::env().fs, Calls::new()), directory.path());

    let at = Path::new("/data/0");
    eprintln!("on the simulated file system");
    let env = Sim::new(1).env();
    env.fs.create_dir_all(at).unwrap();
    check(&*env.fs, at);

    eprintln!("on the simulated file system with short reads and writes");
    let disk = SimDisk::new(2);
    disk.set_transfers(Transfers::Short);
    let fs = disk.fs();
    fs.create_dir_all(at).unwrap();
    check(&*fs, at);
}

fn write(fs: &dyn Fs, path: &Path, content: &[u8]) {
    fs.open(path, OpenMode::CreateOrTruncate).unwrap().write_all_at(content, 0).unwrap();
}

fn read(fs: &dyn Fs, path: &Path) -> Vec<u8> {
    fs.read_small(path, 1 << 20).unwrap().to_vec()
}

fn names(fs: &dyn Fs, path: &Path) -> Vec<String> {
    fs.read_dir(path).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_missing_file_is_opened_by_no_mode_that_does_not_create() {
    on_each(|fs, at| {
        for mode in [OpenMode::Read, OpenMode::ReadWrite] {
            assert_eq!(fs.open(&at.join("f"), mode).unwrap_err().kind(), ErrorKind::NotFound);
        }
        assert!(!fs.exists(&at.join("f")).unwrap());
    });
}

#[test]
fn create_new_refuses_a_name_that_is_taken() {
    on_each(|fs, at| {
        fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        let again = fs.open(&at.join("f"), OpenMode::CreateNew);
        assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs.open(at, OpenMode::CreateNew).unwrap_err().kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn create_or_truncate_empties_what_is_there() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"long content");
        write(fs, &at.join("f"), b"short");
        assert_eq!(read(fs, &at.join("f")), b"short");
    });
}

#[test]
fn a_file_that_was_opened_for_reading_is_not_written() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"content");
        let file = fs.open(&at.join("f"), OpenMode::Read).unwrap();
        assert!(file.write_all_at(b"x", 0).is_err());
        assert!(file.set_len(0).is_err());
        assert!(file.allocate_keep_size(0..4096).is_err());
        assert_eq!(read(fs, &at.join("f")), b"content");
    });
}

#[test]
fn opening_below_a_file_or_for_writing_a_directory_is_refused() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"");
        let below = fs.open(&at.join("f/g"), OpenMode::CreateNew);
        assert_eq!(below.unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(fs.open(at, OpenMode::ReadWrite).unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn a_vectored_write_joins_its_buffers() {
    on_each(|fs, at| {
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        let buffers =
            [IoSlice::new(b"one "), IoSlice::new(b""), IoSlice::new(b"two "), IoSlice::new(b"three")];
        file.write_all_vectored_at(&buffers, 0).unwrap();
        file.write_all_vectored_at(&[IoSlice::new(b"TWO")], 4).unwrap();
        file.write_all_vectored_at(&[], 100).unwrap();
        assert_eq!(read(fs, &at.join("f")), b"one TWO three");
    });
}

#[test]
fn more_buffers_than_the_kernel_takes_at_once_are_written_in_order() {
    on_each(|fs, at| {
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        let content: Vec<u8> = (0..3000_u32).flat_map(u32::to_le_bytes).collect();
        let buffers: Vec<IoSlice<'_>> = content.chunks(4).map(IoSlice::new).collect();
        file.write_all_vectored_at(&buffers, 0).unwrap();
        assert_eq!(read(fs, &at.join("f")), content);
    });
}

#[test]
fn a_write_beyond_the_end_leaves_zeros_between() {
    on_each(|fs, at| {
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(b"end", 10_000).unwrap();
        assert_eq!(file.size().unwrap(), 10_003);
        let content = read(fs, &at.join("f"));
        assert!(content[..10_000].iter().all(|&b| b == 0));
        assert_eq!(&content[10_000..], b"end");
    });
}

#[test]
fn reads_end_with_the_file() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"0123456789");
        let file = fs.open(&at.join("f"), OpenMode::Read).unwrap();
        let mut buffer = [0; 4];
        file.read_exact_at(&mut buffer, 6).unwrap();
        assert_eq!(&buffer, b"6789");
        assert_eq!(file.read_exact_at(&mut buffer, 7).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(file.read_at(&mut buffer, 10).unwrap(), 0);
        assert_eq!(file.read_at(&mut buffer, 1 << 40).unwrap(), 0);
        assert_eq!(file.read_at(&mut [], 0).unwrap(), 0);
    });
}

#[test]
fn set_len_cuts_and_extends_with_zeros() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), &[7; 6000]);
        let file = fs.open(&at.join("f"), OpenMode::ReadWrite).unwrap();
        file.set_len(10).unwrap();
        file.set_len(5000).unwrap();
        let content = read(fs, &at.join("f"));
        assert_eq!((&content[..10], content.len()), ([7; 10].as_slice(), 5000));
        assert!(content[10..].iter().all(|&b| b == 0));
    });
}

#[test]
fn allocating_keeps_the_size() {
    on_each(|fs, at| {
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        match file.allocate_keep_size(0..1 << 20) {
            Err(e) if e.kind() == ErrorKind::Unsupported => return,
            answer => answer.unwrap(),
        }
        assert_eq!(file.size().unwrap(), 0);
        file.allocate_keep_size(5..5).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        assert_eq!(read(fs, &at.join("f")), b"abc");
    });
}

#[test]
fn what_was_synced_is_read_again_after_the_cache_was_dropped() {
    on_each(|fs, at| {
        let content: Vec<u8> = (0..50_000_u32).flat_map(u32::to_be_bytes).collect();
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.sync_data().unwrap();
        file.write_all_at(b"dirty", 0).unwrap();
        file.drop_cache().unwrap();
        let mut again = vec![0; content.len()];
        file.read_exact_at(&mut again, 0).unwrap();
        assert_eq!((&again[..5], &again[5..]), (b"dirty".as_slice(), &content[5..]));
    });
}

#[test]
fn the_medium_is_read_at_any_position_past_the_end_of_the_file_and_under_a_map() {
    on_each(|fs, at| {
        let content: Vec<u8> = (0..50_001_u32).flat_map(u32::to_be_bytes).collect();
        let file = fs.open(&at.join("f"), OpenMode::CreateNew).unwrap();
        file.write_all_at(&content, 0).unwrap();
        file.sync_data().unwrap();
        let map = file.map(4096).unwrap();
        for (position, length) in
            [(0, 200_004), (0, 1), (4095, 2), (8192, 4096), (199_999, 5), (123_457, 40_000)]
        {
            let mut read = vec![0; length];
            let mut filled = 0;
            while filled < length {
                filled += file.read_medium_at(&mut read[filled..], (position + filled) as u64).unwrap();
            }
            assert_eq!(read, content[position..position + length]);
        }
        let mut beyond = [0; 100];
        assert_eq!(file.read_medium_at(&mut beyond, 200_004).unwrap(), 0);
        assert_eq!(map.bytes(), &content[..4096]);
    });
}

#[test]
fn a_map_shows_the_first_bytes_of_the_file() {
    on_each(|fs, at| {
        let content = [b'm'; 10_000];
        write(fs, &at.join("f"), &content);
        let file = fs.open(&at.join("f"), OpenMode::ReadWrite).unwrap();
        let map = file.map(9000).unwrap();
        drop(file);
        map.populate(0..9000).unwrap();
        map.populate(8999..9000).unwrap();
        map.populate(5..5).unwrap();
        assert_eq!(map.bytes(), &content[..9000]);
        assert_eq!(map.populate(0..9001).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_map_of_a_file_that_became_shorter_says_so_and_harms_nobody() {
    on_each(|fs, at| {
        let path = at.join("f");
        write(fs, &path, &[5; 40_000]);
        let file = fs.open(&path, OpenMode::ReadWrite).unwrap();
        let map = file.map(40_000).unwrap();
        assert!(map.bytes().iter().all(|byte| *byte == 5) && map.is_intact());
        file.set_len(4096).unwrap();
        assert!(map.populate(0..40_000).is_err());
        std::hint::black_box(map.bytes().iter().map(|byte| u64::from(*byte)).sum::<u64>());
        assert!(!map.is_intact());
        assert!(map.populate(0..40_000).is_err(), "zeros stand for what is lost");
    });
}

#[test]
fn a_map_of_nothing_or_beyond_the_end_is_refused() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"0123456789");
        let file = fs.open(&at.join("f"), OpenMode::Read).unwrap();
        for bytes in [0, 11] {
            assert_eq!(file.map(bytes).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn rename_replaces_and_open_handles_stay_with_their_files() {
    on_each(|fs, at| {
        write(fs, &at.join("old"), b"old");
        write(fs, &at.join("new"), b"new");
        let old = fs.open(&at.join("old"), OpenMode::ReadWrite).unwrap();
        let new = fs.open(&at.join("new"), OpenMode::ReadWrite).unwrap();
        fs.rename(&at.join("new"), &at.join("old")).unwrap();
        let mut buffer = [0; 3];
        old.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"old");
        new.write_all_at(b"NEW", 0).unwrap();
        assert_eq!(read(fs, &at.join("old")), b"NEW");
        assert_eq!(names(fs, at), ["old"]);
        assert_eq!(fs.rename(&at.join("new"), at).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_directory_is_renamed_with_what_is_in_it_but_not_into_itself_or_over_a_full_one() {
    on_each(|fs, at| {
        fs.create_dir_all(&at.join("a/b")).unwrap();
        write(fs, &at.join("a/b/f"), b"x");
        fs.rename(&at.join("a"), &at.join("c")).unwrap();
        assert_eq!(read(fs, &at.join("c/b/f")), b"x");
        let into_itself = fs.rename(&at.join("c"), &at.join("c/b/d"));
        assert_eq!(into_itself.unwrap_err().kind(), ErrorKind::InvalidInput);
        fs.create_dir_all(&at.join("e")).unwrap();
        let over_a_full_one = fs.rename(&at.join("e"), &at.join("c"));
        assert_eq!(over_a_full_one.unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        fs.rename(&at.join("c"), &at.join("e")).unwrap();
        assert_eq!(names(fs, at), ["e"]);
    });
}

#[test]
fn renaming_between_a_file_and_a_directory_is_refused() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"");
        fs.create_dir_all(&at.join("d")).unwrap();
        let over_a_directory = fs.rename(&at.join("f"), &at.join("d"));
        assert_eq!(over_a_directory.unwrap_err().kind(), ErrorKind::IsADirectory);
        let over_a_file = fs.rename(&at.join("d"), &at.join("f"));
        assert_eq!(over_a_file.unwrap_err().kind(), ErrorKind::NotADirectory);
        fs.rename(&at.join("f"), &at.join("f")).unwrap();
        assert_eq!(names(fs, at), ["d", "f"]);
    });
}

#[test]
fn an_unlinked_file_lives_as_long_as_its_handles() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), b"still here");
        let file = fs.open(&at.join("f"), OpenMode::Read).unwrap();
        fs.unlink(&at.join("f")).unwrap();
        assert_eq!(fs.unlink(&at.join("f")).unwrap_err().kind(), ErrorKind::NotFound);
        let mut buffer = [0; 10];
        file.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"still here");
    });
}

#[test]
fn listings_are_sorted_and_tell_files_from_directories() {
    on_each(|fs, at| {
        for name in ["b", "a", "c10", "c9"] {
            write(fs, &at.join(name), b"");
        }
        fs.create_dir_all(&at.join("aa")).unwrap();
        assert_eq!(names(fs, at), ["a", "aa", "b", "c10", "c9"]);
        let kinds: Vec<EntryKind> = fs.read_dir(at).unwrap().into_iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds[..3], [EntryKind::File, EntryKind::Dir, EntryKind::File]);
        assert_eq!(fs.read_dir(&at.join("a")).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(fs.read_dir(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn directories_are_made_with_their_parents_and_removed_when_empty() {
    on_each(|fs, at| {
        let deep = at.join("x/y/z");
        fs.create_dir_all(&deep).unwrap();
        fs.create_dir_all(&deep).unwrap();
        assert_eq!(fs.remove_dir(&at.join("x")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
        fs.remove_dir(&deep).unwrap();
        assert_eq!(fs.remove_dir(&deep).unwrap_err().kind(), ErrorKind::NotFound);
        write(fs, &at.join("f"), b"");
        assert!(fs.create_dir_all(&at.join("f")).is_err());
        assert_eq!(fs.remove_dir(&at.join("f")).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(fs.unlink(&at.join("x")).unwrap_err().kind(), ErrorKind::IsADirectory);
    });
}

#[test]
fn a_directory_is_locked_once_and_free_when_the_lock_is_dropped() {
    on_each(|fs, at| {
        let lock = fs.lock_dir(at).unwrap();
        assert_eq!(fs.lock_dir(at).unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(lock);
        let _again = fs.lock_dir(at).unwrap();
        assert_eq!(fs.lock_dir(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn populating_reaches_to_the_end_of_the_file_and_no_farther() {
    on_each(|fs, at| {
        write(fs, &at.join("f"), &[7; 100_000]);
        let file = fs.open(&at.join("f"), OpenMode::ReadWrite).unwrap();
        file.populate(0..100_000).unwrap();
        file.populate(5000..5001).unwrap();
        file.populate(1 << 40..1 << 40).unwrap();
        assert!(file.populate(4096..1 << 20).is_err());
        assert!(!file.is_resident(4096..1 << 20));
    });
}

#[test]
fn directories_and_file_systems_are_synced() {
    on_each(|fs, at| {
        fs.sync_dir(at).unwrap();
        fs.sync_fs(at).unwrap();
        assert_eq!(fs.sync_dir(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.sync_fs(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn the_mount_keeps_its_identity_and_knows_its_room() {
    on_each(|fs, at| {
        assert_eq!(fs.mount_identity(at).unwrap(), fs.mount_identity(at).unwrap());
        let space = fs.space_left(at).unwrap();
        assert!(space.available <= space.total && space.total > 0);
        assert_eq!(fs.space_left(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.mount_identity(&at.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn replacing_leaves_the_new_content_and_no_temporary_file() {
    on_each(|fs, at| {
        for content in [b"first".as_slice(), b"second"] {
            fs.replace(&at.join("mark"), content).unwrap();
            assert_eq!(read(fs, &at.join("mark")), content);
        }
        assert_eq!(names(fs, at), ["mark"]);
        assert_eq!(fs.read_small(&at.join("mark"), 5).unwrap_err().kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn a_bare_name_lies_in_the_working_directory() {
    let fs = real::RealFs;
    assert!(fs.exists(Path::new("Cargo.toml")).unwrap());
    assert!(!fs.exists(&PathBuf::from("no such file")).unwrap());
}
