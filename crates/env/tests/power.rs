//! What a simulated power cut takes away and what it leaves.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use millrace_env::sim::{Fault, FileChange, PAGE_BYTES, Pending, SECTOR_BYTES, SimDisk, Survival};
use millrace_env::{File, Fs, FsExt, OpenMode, counting::CallKind};

const LOG: &str = "/log";

fn create(fs: &dyn Fs, path: &str, content: &[u8]) -> Arc<dyn File> {
    let file = fs.open(Path::new(path), OpenMode::CreateNew).unwrap();
    file.write_all_at(content, 0).unwrap();
    file
}

/// A file whose content and entry are on the medium.
fn create_synced(fs: &dyn Fs, path: &str, content: &[u8]) -> Arc<dyn File> {
    let file = create(fs, path, content);
    file.sync_data().unwrap();
    fs.sync_dir(Path::new(path).parent().unwrap()).unwrap();
    file
}

fn read(fs: &dyn Fs, path: &str) -> Vec<u8> {
    fs.read_small(Path::new(path), 1 << 24).unwrap().to_vec()
}

fn names(fs: &dyn Fs) -> Vec<String> {
    fs.read_dir(Path::new("/")).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn bytes_that_were_not_synced_are_lost_and_the_others_are_not() {
    let disk = SimDisk::new(1);
    let file = create_synced(&*disk.fs(), LOG, b"synced");
    file.write_all_at(b" and not synced", 6).unwrap();
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), LOG), b"synced");
}

#[test]
fn a_file_without_its_entry_is_lost_with_the_entry() {
    let disk = SimDisk::new(1);
    create(&*disk.fs(), LOG, b"bytes").sync_data().unwrap();
    assert!(names(&*disk.power_cut(Survival::Nothing)).is_empty());
}

#[test]
fn an_entry_without_its_bytes_is_an_empty_file() {
    let disk = SimDisk::new(1);
    let _file = create(&*disk.fs(), LOG, b"bytes");
    disk.fs().sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), LOG), b"");
}

#[test]
fn a_directory_without_its_entry_is_lost_with_what_was_synced_in_it() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    fs.create_dir_all(Path::new("/a/b")).unwrap();
    create_synced(&*fs, "/a/b/f", b"bytes");
    fs.sync_dir(Path::new("/a")).unwrap();
    assert!(disk.medium(Path::new("/a/b/f")).is_err());
    assert!(names(&*disk.power_cut(Survival::Nothing)).is_empty());
}

#[test]
fn unlinking_and_renaming_need_a_sync_of_the_directory_too() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    create_synced(&*fs, "/a", b"a");
    create_synced(&*fs, "/b", b"b");
    fs.unlink(Path::new("/a")).unwrap();
    fs.rename(Path::new("/b"), Path::new("/c")).unwrap();
    assert_eq!(names(&*fs), ["c"]);
    let fs = disk.power_cut(Survival::Nothing);
    assert_eq!(names(&*fs), ["a", "b"]);
    assert_eq!((read(&*fs, "/a"), read(&*fs, "/b")), (b"a".to_vec(), b"b".to_vec()));
}

#[test]
fn a_rename_without_a_sync_of_the_file_may_replace_it_by_an_empty_one() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    create_synced(&*fs, "/mark", b"old");
    create(&*fs, "/mark.tmp", b"new");
    fs.rename(Path::new("/mark.tmp"), Path::new("/mark")).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), "/mark"), b"");
}

#[test]
fn replace_leaves_the_old_content_or_the_new_at_every_step_and_with_every_subset() {
    for step in 0..6 {
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            disk.fs().replace(Path::new("/mark"), b"old").unwrap();
            // The calls of replace in their order: each fails in turn, as if the power had gone before it.
            let kinds =
                [CallKind::Create, CallKind::Write, CallKind::SyncData, CallKind::Rename, CallKind::SyncDir];
            if let Some(kind) = kinds.get(step) {
                disk.inject(Fault::io(*kind));
            }
            let answer = disk.fs().replace(Path::new("/mark"), b"new content");
            assert_eq!(answer.is_ok(), step == 5);
            let content = read(&*disk.power_cut(Survival::Random), "/mark");
            assert!(
                content == b"new content" || (content == b"old" && step < 5),
                "{step} {seed} {content:?}"
            );
        }
    }
}

#[test]
fn a_failed_sync_lies_to_this_process_and_the_next_and_is_found_out_by_dropping_the_cache() {
    let disk = SimDisk::new(1);
    let file = create_synced(&*disk.fs(), LOG, b"");
    file.write_all_at(&[b'x'; 256], 0).unwrap();
    disk.inject(Fault::io(CallKind::SyncData));
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(read(&*disk.fs(), LOG), [b'x'; 256]);

    let fs = disk.kill();
    assert_eq!(read(&*fs, LOG), [b'x'; 256]);
    let file = fs.open(Path::new(LOG), OpenMode::ReadWrite).unwrap();
    file.sync_data().unwrap();
    file.drop_cache().unwrap();
    assert_eq!(read(&*fs, LOG), [0; 256]);
}

#[test]
fn dropping_the_cache_drops_nothing_while_the_file_is_mapped() {
    let disk = SimDisk::new(1);
    let file = create_synced(&*disk.fs(), LOG, b"good");
    disk.flip_bit(Path::new(LOG), 0, 0).unwrap();
    let map = file.map(4).unwrap();
    file.drop_cache().unwrap();
    assert_eq!(read(&*disk.fs(), LOG), b"good");
    let mut medium = [0; 4];
    assert_eq!(file.read_medium_at(&mut medium, 0).unwrap(), 4);
    assert_eq!(&medium, b"food");
    assert_eq!(read(&*disk.fs(), LOG), b"good");
    drop(map);
    file.drop_cache().unwrap();
    assert_eq!(read(&*disk.fs(), LOG), b"food");
}

#[test]
fn a_failed_sync_of_a_directory_lies_too() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    create(&*fs, LOG, b"x").sync_data().unwrap();
    disk.inject(Fault::io(CallKind::SyncDir));
    fs.sync_dir(Path::new("/")).unwrap_err();
    fs.sync_dir(Path::new("/")).unwrap();
    assert_eq!(names(&*fs), ["log"]);
    assert!(names(&*disk.power_cut(Survival::Everything)).is_empty());
}

#[test]
fn sync_fs_brings_files_and_entries_to_the_medium() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    fs.create_dir_all(Path::new("/a/b")).unwrap();
    create(&*fs, "/a/b/f", b"bytes");
    assert!(!disk.pending().is_empty());
    fs.sync_fs(Path::new("/a")).unwrap();
    assert_eq!(disk.pending(), []);
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), "/a/b/f"), b"bytes");
}

#[test]
fn sectors_survive_one_by_one() {
    let disk = SimDisk::new(1);
    let file = create_synced(&*disk.fs(), LOG, &[1; 2 * PAGE_BYTES]);
    file.write_all_at(&[2; 2 * PAGE_BYTES], 0).unwrap();
    let third = 2 * SECTOR_BYTES as u64;
    let fs = disk.power_cut_with(&mut |pending| {
        matches!(pending, Pending::File { change: FileChange::Sector { position }, .. } if *position == third)
    });
    let content = read(&*fs, LOG);
    let changed: BTreeSet<usize> =
        content.iter().enumerate().filter(|(_, b)| **b == 2).map(|(at, _)| at / SECTOR_BYTES).collect();
    assert_eq!(changed, BTreeSet::from([2]));
    assert_eq!(content.iter().filter(|&&b| b == 2).count(), SECTOR_BYTES);
}

#[test]
fn a_length_that_survives_without_its_bytes_shows_zeros() {
    let disk = SimDisk::new(1);
    let file = create_synced(&*disk.fs(), LOG, b"head");
    file.write_all_at(&[1; 10_000], 4).unwrap();
    let fs = disk.power_cut_with(&mut |pending| {
        matches!(pending, Pending::File { change: FileChange::Length { len, .. }, .. } if *len <= 8192)
    });
    let content = read(&*fs, LOG);
    assert_eq!((&content[..4], content.len()), (b"head".as_slice(), 8192));
    assert!(content[4..].iter().all(|&b| b == 0));
}

#[test]
fn everything_survives_when_asked_to() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    fs.create_dir_all(Path::new("/a")).unwrap();
    create(&*fs, "/a/f", &[3; 10_000]);
    fs.rename(Path::new("/a/f"), Path::new("/g")).unwrap();
    let fs = disk.power_cut(Survival::Everything);
    assert_eq!(names(&*fs), ["a", "g"]);
    assert_eq!(read(&*fs, "/g"), [3; 10_000]);
}

#[test]
fn directory_changes_survive_in_any_subset_but_those_of_one_file_in_order() {
    let mut seen = BTreeSet::new();
    for subset in 0..16_u32 {
        let disk = SimDisk::new(1);
        let fs = disk.fs();
        create(&*fs, "/a", b"");
        create(&*fs, "/b", b"");
        fs.rename(Path::new("/a"), Path::new("/c")).unwrap();
        fs.unlink(Path::new("/b")).unwrap();
        let mut asked = 0;
        let fs = disk.power_cut_with(&mut |_| {
            asked += 1;
            subset & (1 << (asked - 1)) != 0
        });
        assert_eq!(asked, 4);
        seen.insert(names(&*fs).join(" "));
    }
    // Never both a and c: they are one file.
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["", "a", "a b", "b", "b c", "c"]);
}

#[test]
fn a_file_that_is_renamed_twice_has_one_name() {
    for (subset, expected) in [(0b00, "a"), (0b01, "b"), (0b10, "c"), (0b11, "c")] {
        let disk = SimDisk::new(1);
        let fs = disk.fs();
        create_synced(&*fs, "/a", b"x");
        fs.rename(Path::new("/a"), Path::new("/b")).unwrap();
        fs.rename(Path::new("/b"), Path::new("/c")).unwrap();
        let mut asked = 0;
        let fs = disk.power_cut_with(&mut |_| {
            asked += 1;
            subset & (1 << (asked - 1)) != 0
        });
        assert_eq!(names(&*fs), [expected]);
    }
}

#[test]
fn the_last_to_take_a_name_has_it_in_whatever_order_directories_are_synced() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    for dir in ["/a", "/b"] {
        fs.create_dir_all(Path::new(dir)).unwrap();
    }
    fs.sync_dir(Path::new("/")).unwrap();
    create_synced(&*fs, "/a/old", b"old");
    create_synced(&*fs, "/b/new", b"new");
    fs.rename(Path::new("/a/old"), Path::new("/a/mark")).unwrap();
    fs.rename(Path::new("/b/new"), Path::new("/a/mark")).unwrap();
    fs.sync_dir(Path::new("/b")).unwrap();
    fs.sync_dir(Path::new("/a")).unwrap();
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), "/a/mark"), b"new");
}

#[test]
fn a_file_that_moves_between_directories_is_in_one_of_them() {
    for synced in ["/a", "/b", "/"] {
        let disk = SimDisk::new(1);
        let fs = disk.fs();
        for dir in ["/a", "/b"] {
            fs.create_dir_all(Path::new(dir)).unwrap();
        }
        fs.sync_dir(Path::new("/")).unwrap();
        create_synced(&*fs, "/a/f", b"x");
        fs.rename(Path::new("/a/f"), Path::new("/b/f")).unwrap();
        fs.sync_dir(Path::new(synced)).unwrap();
        let fs = disk.power_cut(Survival::Nothing);
        let at = if synced == "/" { "/a/f" } else { "/b/f" };
        assert_eq!(read(&*fs, at), b"x");
        let count = |dir: &str| fs.read_dir(Path::new(dir)).unwrap().len();
        assert_eq!(count("/a") + count("/b"), 1);
    }
}

/// Three rounds of writing, cutting and renaming with random cuts between them; what the disk holds in the end.
fn story(seed: u64) -> Vec<(String, Vec<u8>)> {
    let disk = SimDisk::new(seed);
    for round in 0..3_u8 {
        let fs = disk.fs();
        for index in 0..4_u8 {
            let path = format!("/{round}-{index}");
            let file = create(&*fs, &path, &vec![round * 16 + index; 20_000]);
            if index % 2 == 0 {
                file.sync_data().unwrap();
            }
            file.write_all_at(&[0xee; 9000], 3000).unwrap();
            file.set_len(15_000).unwrap();
            fs.rename(Path::new(&path), Path::new(&format!("{path}.log"))).unwrap();
        }
        disk.power_cut(Survival::Random);
    }
    let fs = disk.fs();
    names(&*fs).into_iter().map(|name| (name.clone(), read(&*fs, &format!("/{name}")))).collect()
}

#[test]
fn the_same_seed_leaves_the_same_bytes_and_seeds_differ() {
    let stories: BTreeSet<_> = (0..20).map(story).collect();
    assert!(stories.len() > 15, "20 seeds told {} stories", stories.len());
    for seed in 0..20 {
        assert_eq!(story(seed), story(seed));
    }
}

#[test]
fn random_cuts_leave_whole_pages_lost_pages_and_torn_pages() {
    let mut fates = BTreeSet::new();
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let file = create_synced(&*disk.fs(), LOG, &[1; 8 * PAGE_BYTES]);
        file.write_all_at(&[2; 8 * PAGE_BYTES], 0).unwrap();
        let content = read(&*disk.power_cut(Survival::Random), LOG);
        for page in content.chunks(PAGE_BYTES) {
            assert!(page.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|b| *b == sector[0])));
            fates.insert(match page.iter().filter(|b| **b == 2).count() {
                0 => "lost",
                PAGE_BYTES => "whole",
                _ => "torn",
            });
        }
    }
    assert_eq!(fates.len(), 3);
}

#[test]
fn a_power_cut_ends_handles_and_locks_and_changes_the_identity_of_the_mount() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    let root = Path::new("/");
    let identity = fs.mount_identity(root).unwrap();
    let file = create_synced(&*fs, LOG, b"x");
    let _held = fs.lock_dir(root).unwrap();
    let after = disk.power_cut(Survival::Nothing);
    for error in [file.sync_data().unwrap_err(), fs.sync_dir(root).unwrap_err()] {
        assert_eq!(error.raw_os_error(), Some(5));
    }
    let identity_after = after.mount_identity(root).unwrap();
    assert_ne!(identity.boot_id, identity_after.boot_id);
    assert_ne!(identity.mount_id_unique, identity_after.mount_id_unique);
    after.lock_dir(root).unwrap();
}

#[test]
fn a_kill_ends_handles_and_locks_and_leaves_the_cache_and_the_identity() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    let root = Path::new("/");
    let identity = fs.mount_identity(root).unwrap();
    let file = create(&*fs, LOG, b"not synced");
    let held = fs.lock_dir(root).unwrap();
    let after = disk.kill();
    file.size().unwrap_err();
    let held_after = after.lock_dir(root).unwrap();
    drop(held);
    after.lock_dir(root).unwrap_err();
    drop(held_after);
    assert_eq!(after.mount_identity(root).unwrap(), identity);
    assert_eq!(read(&*after, LOG), b"not synced");
}

#[test]
fn a_remount_keeps_the_boot_id_alone() {
    let disk = SimDisk::new(1);
    let root = Path::new("/");
    let before = disk.fs().mount_identity(root).unwrap();
    create(&*disk.fs(), LOG, b"kept");
    let fs = disk.remount();
    let after = fs.mount_identity(root).unwrap();
    assert_eq!(before.boot_id, after.boot_id);
    assert_ne!(before.mount_id_unique, after.mount_id_unique);
    assert_eq!(read(&*disk.power_cut(Survival::Nothing), LOG), b"kept");
}

#[test]
fn a_fork_and_its_origin_go_their_own_ways() {
    let disk = SimDisk::new(1);
    let fs = disk.fs();
    let file = create_synced(&*fs, LOG, b"synced");
    file.write_all_at(b"SYNCED", 0).unwrap();
    create(&*fs, "/unsynced", b"x");
    let fork = disk.fork(2);
    assert_eq!(fork.pending(), disk.pending());
    assert_eq!(fork.medium_digest(), disk.medium_digest());
    let survived = fork.power_cut(Survival::Nothing);
    assert_eq!((read(&*survived, LOG), names(&*survived)), (b"synced".to_vec(), vec!["log".to_owned()]));
    assert_eq!(fork.medium_digest(), disk.medium_digest(), "nothing has reached either medium");
    file.sync_data().unwrap();
    assert_ne!(fork.medium_digest(), disk.medium_digest());
    assert_eq!((read(&*fs, LOG), read(&*survived, LOG)), (b"SYNCED".to_vec(), b"synced".to_vec()));
}
