//! The order of eviction against a plain list, and the three things that must never happen.

use std::path::Path;

use millrace_env::counting::CallKind;
use millrace_env::sim::{Fault, Sim};

use super::*;

/// What a plain list would do: newest first.
#[derive(Debug, Default)]
struct Plain {
    list: Vec<Key>,
    pins: std::collections::BTreeMap<Key, u32>,
    gone: std::collections::BTreeSet<Key>,
}

impl Plain {
    fn is_open(&self, key: Key) -> bool {
        let pinned = self.pins.get(&key).is_some_and(|pins| *pins > 0);
        !self.gone.contains(&key) && (pinned || self.list.contains(&key))
    }

    fn touch(&mut self, key: Key) {
        if self.list.contains(&key) {
            self.list.retain(|other| *other != key);
            self.list.insert(0, key);
        }
    }
}

#[test]
fn the_least_recently_used_one_that_is_not_pinned_is_closed_first() {
    for seed in 0..200 {
        let rng = Arc::clone(Sim::new(seed).rng());
        let max = 1 + usize::try_from(rng.below(6)).unwrap();
        let mut lru: Lru<Key> = Lru::new(max);
        let mut plain = Plain::default();
        let keys: Vec<Key> = (0..12).map(|_| lru.add()).collect();
        for _ in 0..400 {
            let key = keys[usize::try_from(rng.below(12)).unwrap()];
            match rng.below(20) {
                0..12 => {
                    let found = lru.find(key);
                    assert_eq!(matches!(found, Found::Open(_)), plain.is_open(key));
                    plain.touch(key);
                    lru.offer(key, &key);
                    if !plain.is_open(key) && !plain.gone.contains(&key) {
                        plain.list.insert(0, key);
                    }
                }
                12..15 => {
                    if let Found::Open(found) = lru.pin(key) {
                        assert_eq!(found, key);
                        plain.list.retain(|other| *other != key);
                        *plain.pins.entry(key).or_default() += 1;
                    }
                }
                15..18 => {
                    if let Some(pins) = plain.pins.get_mut(&key).filter(|pins| **pins > 0) {
                        *pins -= 1;
                        if *pins == 0 && !plain.gone.contains(&key) {
                            plain.list.insert(0, key);
                        }
                        lru.unpin(key);
                    }
                }
                18 if rng.below(8) == 0 => {
                    assert_eq!(lru.lose(key).is_some(), plain.is_open(key));
                    plain.gone.insert(key);
                    plain.list.retain(|other| *other != key);
                }
                _ => {
                    lru.remove(key);
                    assert_eq!(lru.add(), key, "the place is used again");
                    plain.list.retain(|other| *other != key);
                    plain.pins.remove(&key);
                    plain.gone.remove(&key);
                }
            }
            while let Some(evicted) = lru.evict_surplus() {
                assert_eq!(Some(evicted), plain.list.pop(), "seed {seed}");
            }
            let pinned =
                plain.pins.iter().filter(|(key, pins)| **pins > 0 && !plain.gone.contains(key)).count();
            assert_eq!(lru.open(), plain.list.len() + pinned);
            assert!(lru.open() <= max.max(pinned));
        }
    }
}

fn cache(sim: &Sim, files: usize, maps: usize) -> Arc<HandleCache> {
    HandleCache::new(sim.env().fs, HandleLimits { files, maps })
}

fn file(sim: &Sim, name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new("/").join(name);
    let file = sim.env().fs.open(&path, OpenMode::CreateOrTruncate).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.sync_data().unwrap();
    path
}

fn first_byte(file: &dyn File) -> u8 {
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 0).unwrap(), 1);
    byte[0]
}

#[test]
fn no_more_files_are_open_than_the_limit_and_all_of_them_answer() {
    let sim = Sim::new(1);
    let cache = cache(&sim, 3, 3);
    let paths: Vec<PathBuf> = (0..10).map(|n| file(&sim, &n.to_string(), &[n])).collect();
    let slots: Vec<FileSlot> = paths.iter().map(|_| FileSlot::closed(&cache)).collect();
    sim.disk().forget_peaks();
    for round in 0..5 {
        for (number, slot) in slots.iter().enumerate().skip(round) {
            let file = slot.file(|| paths[number].clone()).unwrap();
            assert_eq!(usize::from(first_byte(&*file)), number);
        }
    }
    assert_eq!(sim.disk().open_files().now, 3);
    assert!(sim.disk().open_files().peak <= 4, "one more while another one is closed for it");
    drop(slots);
    assert_eq!(sim.disk().open_files().now, 0);
}

#[test]
fn a_pinned_file_is_not_closed_whatever_else_is_opened() {
    let sim = Sim::new(2);
    let cache = cache(&sim, 2, 1);
    let paths: Vec<PathBuf> = (0..6).map(|n| file(&sim, &n.to_string(), &[n])).collect();
    let slots: Vec<Arc<FileSlot>> = paths.iter().map(|_| Arc::new(FileSlot::closed(&cache))).collect();
    let pinned: Vec<PinnedFile> =
        (0..4).map(|number| slots[number].pin(|| paths[number].clone()).unwrap()).collect();
    for file in &pinned {
        file.write_all_at(b"unsynced", 0).unwrap();
    }
    for number in [4, 5, 4, 5] {
        slots[number].file(|| paths[number].clone()).unwrap();
    }
    assert_eq!(cache.open_now().files, 4, "nothing but what is pinned");
    assert_eq!(sim.disk().take_closed_unsynced(), Vec::<PathBuf>::new());
    for (number, file) in pinned.into_iter().enumerate() {
        let again = slots[number].pin(|| unreachable!("it is open")).unwrap();
        assert!(file.is(&again));
        file.sync_data().unwrap();
    }
    assert_eq!(cache.open_now().files, 2);
    assert_eq!(sim.disk().take_closed_unsynced(), Vec::<PathBuf>::new());
}

#[test]
fn a_file_that_was_lost_is_not_opened_again_under_its_old_name() {
    let sim = Sim::new(3);
    let cache = cache(&sim, 2, 2);
    let path = file(&sim, "segment", b"old");
    let slot = FileSlot::closed(&cache);
    let held = slot.file(|| path.clone()).unwrap();
    slot.lose();
    file(&sim, "segment.tmp", b"new");
    sim.env().fs.rename(Path::new("/segment.tmp"), &path).unwrap();
    assert!(is_gone(&slot.file(|| path.clone()).unwrap_err()));
    assert!(slot.is_lost());
    assert_eq!(first_byte(&*held), b'o', "whoever has it open keeps it");
    // Lost between the look-up and the opening: what is opened is thrown away, and so is an error.
    for replacement in [path.clone(), PathBuf::from("/nothing")] {
        let slot = FileSlot::closed(&cache);
        let raced = slot.file(|| {
            slot.lose();
            replacement
        });
        assert!(is_gone(&raced.unwrap_err()));
    }
    drop(held);
    assert_eq!(sim.disk().open_files().now, 0);
}

#[test]
fn maps_are_bounded_and_what_was_handed_out_stays() {
    let sim = Sim::new(4);
    let cache = cache(&sim, 2, 2);
    let paths: Vec<PathBuf> = (0..6).map(|n| file(&sim, &n.to_string(), &[n, n])).collect();
    let slots: Vec<MapSlot> = paths.iter().map(|_| MapSlot::new(&cache)).collect();
    let make = |number: usize| sim.env().fs.open(&paths[number], OpenMode::Read).and_then(|f| f.map(2));
    let held = slots[0].map(|| make(0)).unwrap().bytes.slice(1..2);
    for _ in 0..3 {
        for (number, slot) in slots.iter().enumerate() {
            let mapped = slot.map(|| make(number)).unwrap();
            assert_eq!(usize::from(mapped.bytes[0]), number);
        }
    }
    assert_eq!(cache.open_now().maps, 2);
    assert_eq!(sim.disk().live_maps().now, 3, "and the one that an answer holds");
    assert_eq!(held[0], 0);
    drop(held);
    assert_eq!(sim.disk().live_maps().now, 2);
    slots[5].lose();
    assert!(is_gone(&slots[5].map(|| make(5)).unwrap_err()));
    drop(slots);
    assert_eq!(sim.disk().live_maps().now, 0);
}

#[test]
fn an_idle_file_is_closed_where_the_process_has_none_left() {
    let sim = Sim::new(5);
    let cache = cache(&sim, 10, 10);
    let fs = RoomyFs::new(&cache);
    let paths: Vec<PathBuf> = (0..4).map(|n| file(&sim, &n.to_string(), &[n])).collect();
    let slots: Vec<Arc<FileSlot>> = paths.iter().map(|_| Arc::new(FileSlot::closed(&cache))).collect();
    sim.disk().set_handles_max(HandlesMax { files: 2, maps: 10 });
    for (number, slot) in slots.iter().enumerate() {
        assert_eq!(usize::from(first_byte(&*slot.file(|| paths[number].clone()).unwrap())), number);
    }
    assert!(fs.open(&paths[0], OpenMode::Read).is_ok());
    sim.disk().inject(Fault::too_many_files(CallKind::SyncDir));
    fs.sync_dir(Path::new("/")).unwrap();
    // Nothing idle is left: the caller hears why.
    let _pinned: Vec<PinnedFile> =
        (0..2).map(|number| slots[number].pin(|| paths[number].clone()).unwrap()).collect();
    let error = slots[2].file(|| paths[2].clone()).unwrap_err();
    assert!(millrace_env::is_out_of_files(&error), "{error}");
}

#[test]
fn the_limits_are_a_share_of_what_the_process_may_have() {
    let within = |files, maps| HandleLimits::within(HandlesMax { files, maps });
    assert_eq!(within(1024, 65_530), HandleLimits { files: 512, maps: 32_765 });
    assert_eq!(within(20_000, 65_530).files, 10_000);
    assert_eq!(within(u64::MAX, u64::MAX), HandleLimits { files: 16_384, maps: 32_768 });
    assert_eq!(within(8, 8), HandleLimits { files: 16, maps: 16 });
}
