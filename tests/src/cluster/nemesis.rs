//! Which faults come: drawn from a menu, the same from the same seed.

use std::time::Duration;

use super::fault::{Fault, Who};
use crate::Seed;

/// Partitions of the topic that faults are aimed at.
const PARTITIONS: u64 = 4;

/// What may be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Menu {
    /// Deaths of processes.
    Kills,
    /// Losses of power.
    PowerCuts,
    /// Pauses, cuts of the network, full disks, changed files, and all of the above.
    Everything,
    /// What one broker alone can meet.
    OfOne,
}

impl Menu {
    /// The next fault. The first ones go through the menu in its order, so that a short run has met all of it.
    #[must_use]
    pub fn draw(self, number: usize, seed: &mut Seed) -> Fault {
        let partition = usize::try_from(seed.draw() % PARTITIONS).unwrap_or(0);
        let time = Duration::from_millis(seed.between(500, 6_000));
        let list = self.list(partition, time, seed);
        let index = if number < list.len() {
            number
        } else {
            usize::try_from(seed.draw() % list.len() as u64).unwrap_or(0)
        };
        list[index]
    }

    fn list(self, partition: usize, time: Duration, seed: &mut Seed) -> Vec<Fault> {
        let kills = vec![
            Fault::Kill(Who::Leader(partition)),
            Fault::KillAll,
            Fault::Kill(Who::Controller),
            Fault::Kill(Who::Follower(partition)),
            Fault::Kill(Who::Coordinator),
        ];
        let cuts = vec![
            Fault::CutPower(Who::Leader(partition)),
            Fault::CutPowerOfAll,
            Fault::CutPower(Who::Controller),
            Fault::CutPowerOfAll,
            Fault::CutPower(Who::Any),
        ];
        let anybody = [Who::Leader(partition), Who::Controller, Who::Coordinator, Who::Follower(partition)];
        let who = anybody[usize::try_from(seed.draw() % 4).unwrap_or(0)];
        match self {
            Menu::Kills => kills,
            Menu::PowerCuts => cuts,
            Menu::Everything => {
                let more = [
                    Fault::Pause(who, time),
                    Fault::Isolate(who, time),
                    Fault::Mute(who, time),
                    Fault::Part(who, time),
                    Fault::Deafen(who, time),
                    Fault::FillDisk(who, time),
                    Fault::Corrupt(who),
                    Fault::LeaveAloneAndKill(partition),
                ];
                [&more[..], &kills, &cuts].concat()
            }
            Menu::OfOne => vec![
                Fault::Kill(Who::Any),
                Fault::CutPower(Who::Any),
                Fault::Pause(Who::Any, time / 3),
                Fault::Deafen(Who::Any, time / 3),
                Fault::FillDisk(Who::Any, time / 3),
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        let faults = |seed| {
            let mut seed = Seed::new(seed);
            (0..50).map(|number| Menu::Everything.draw(number, &mut seed)).collect::<Vec<_>>()
        };
        assert_eq!(faults(7), faults(7));
        assert_ne!(faults(7), faults(8));
    }
}
