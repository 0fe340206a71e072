//! Harm to what was synced: a bit that rots below the mark, an index that is garbled, cut short or gone.
//!
//! Rot is damage: nothing is cut because of it, no other batch suffers but those of the same segment, and the bad batch
//! is not served (S6, S9). An index is a hint: whatever is in it, the answers are the same (S10).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace_env::sim::{Sim, SimRng, Survival};
use millrace_env::{Fs, OpenMode};
use millrace_log::{Log, LogDir, ReadRequest};

use super::life::{count, offset, options, partition_id};
use super::points::{Cache, Notes};
use super::raw;
use crate::ledger::{Fate, HEAD_BYTES, Ledger, Partition, Sent, Stop, UnderWay};

pub(super) fn check(sim: &Sim, ledger: &Ledger, draw: &SimRng) -> Result<(), String> {
    for (number, is) in &ledger.partitions {
        // What compaction has written anew is not found by what was sent.
        let is_asked = is.under_way == UnderWay::Nothing && !is.policy.compacts();
        if is.fate == Fate::There && is_asked {
            rot(sim, *number, is, draw).map_err(|e| format!("a bit rotted in partition {number}: {e}"))?;
        }
    }
    // A clean stop promises the indexes: what is wrong with them then is damage, and told as such.
    if ledger.stop != Stop::Closed {
        for way in 0..4 {
            garble(sim, ledger, (way, draw)).map_err(|e| format!("indexes garbled in way {way}: {e}"))?;
        }
    }
    Ok(())
}

/// Where a batch lies.
struct Spot {
    path: PathBuf,
    position: u64,
}

fn find(fs: &dyn Fs, dir: &Path, sent: &Sent) -> Result<Spot, String> {
    let files = raw::log_files(fs, dir);
    let (_, path) = files.range(..=sent.base).next_back().ok_or("no file holds it")?;
    let bytes = raw::content(fs, path)?;
    let mut position = 0;
    for batch in raw::all_stored(&bytes)? {
        if raw::is(&batch, sent) {
            return Ok(Spot { path: path.clone(), position });
        }
        position += batch.size as u64;
    }
    Err(format!("offset {} is not in {}", sent.base, path.display()))
}

fn rot(sim: &Sim, number: u32, is: &Partition, draw: &SimRng) -> Result<(), String> {
    let marked: Vec<&Arc<Sent>> =
        is.sent.iter().filter(|sent| sent.base >= is.log_start && sent.end() <= is.marked).collect();
    let Some(bad) = draw.pick(&marked) else { return Ok(()) };
    let harmed = sim.fork(2);
    harmed.power_cut(Survival::Everything);
    let dir = raw::partition_path(partition_id(number));
    let spot = find(&*harmed.disk().fs(), &dir, bad)?;
    let position = spot.position + HEAD_BYTES as u64 + draw.below((bad.bytes.len() - HEAD_BYTES) as u64);
    harmed.disk().flip_bit(&spot.path, position, 3).map_err(|e| e.to_string())?;
    harmed.power_cut(Survival::Nothing);
    let env = harmed.env();
    let size = raw::content(&*env.fs, &spot.path)?.len();
    let opened = LogDir::open(&env, options()).map_err(|e| e.to_string())?;
    let config = is.policy.config();
    let log = opened.dir.open_log(partition_id(number), config).map_err(|e| e.to_string())?;
    if count(log.offsets().end) < is.acked {
        return Err(format!("the log ends at {}, {} were acknowledged", log.offsets().end, is.acked));
    }
    if raw::content(&*env.fs, &spot.path)?.len() < size {
        return Err("the file was cut".to_owned());
    }
    for sent in is.sent.iter().filter(|sent| sent.base >= is.log_start && sent.end() <= is.acked) {
        let apart = find(&*env.fs, &dir, sent).is_ok_and(|other| other.path != spot.path);
        match read_one(&log, sent) {
            Ok(()) if sent.base == bad.base => return Err("the bad batch was served".to_owned()),
            Err(what) if apart => return Err(format!("offset {} of another segment: {what}", sent.base)),
            Err(what) if what.contains(WRONG) => return Err(format!("offset {}: {what}", sent.base)),
            _ => {}
        }
    }
    Ok(())
}

const WRONG: &str = "other bytes were served";

/// Whether a read of a batch's first offset answers that batch. A gap may be skipped, but nothing may be made up.
fn read_one(log: &Log, sent: &Sent) -> Result<(), String> {
    let request = ReadRequest { from: offset(sent.base), until: None, bytes_max: 1 };
    let plan = log.read(&request).map_err(|e| e.to_string())?;
    let answer = plan.load().map_err(|e| e.to_string())?;
    let found = answer.extents.first().and_then(|extent| raw::stored_at(extent));
    match found {
        Some(found) if raw::is(&found, sent) => Ok(()),
        Some(found) if found.base == sent.base => Err(WRONG.to_owned()),
        _ => Err("it was skipped".to_owned()),
    }
}

/// The index files of segments without a seal.
fn hints(fs: &dyn Fs, ledger: &Ledger) -> Vec<PathBuf> {
    let dirs = ledger.partitions.keys().map(|number| raw::partition_path(partition_id(*number)));
    let logs = dirs.flat_map(|dir| raw::log_files(fs, &dir).into_values());
    let open = logs.filter(|path| fs.open(&path.with_extension("seal"), OpenMode::Read).is_err());
    let both = open.flat_map(|path| [path.with_extension("index"), path.with_extension("timeindex")]);
    both.filter(|path| fs.open(path, OpenMode::Read).is_ok()).collect()
}

fn garble(sim: &Sim, ledger: &Ledger, (way, draw): (u32, &SimRng)) -> Result<(), String> {
    let harmed = sim.fork(3);
    harmed.power_cut(Survival::Everything);
    let fs = harmed.disk().fs();
    for path in hints(&*fs, ledger) {
        let file = fs.open(&path, OpenMode::ReadWrite).map_err(|e| e.to_string())?;
        let size = file.size().map_err(|e| e.to_string())?;
        let noise: Vec<u8> = (0..size.max(24)).map(|_| u8::try_from(draw.below(256)).unwrap_or(0)).collect();
        let done = match way {
            0 => fs.unlink(&path),
            1 => file.set_len(draw.below(size.max(1))),
            2 => file.write_all_at(&noise, 0),
            // Entries that rise and lie far beyond the end.
            _ => file.write_all_at(&beyond(), size),
        };
        done.map_err(|e| e.to_string())?;
    }
    fs.sync_fs(Path::new("/")).map_err(|e| e.to_string())?;
    harmed.power_cut(Survival::Nothing);
    ledger.check(&harmed, Cache::Honest)
}

fn beyond() -> Vec<u8> {
    (1..20_u32).flat_map(|n| [1_000_000 + n, 2_000_000 + n]).flat_map(u32::to_be_bytes).collect()
}
