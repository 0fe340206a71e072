//! What is done to the world.

use std::time::Duration;

use millrace_env::sim::Survival;

use super::process::Moment;
use super::weather::Faults;
use super::wire::{CALM, CLIENTS, Weather};
use super::world::World;

impl World {
    pub(super) fn act(&mut self) {
        let machine = self.rng.index(self.machines.len());
        let draw = self.rng.below(100);
        match self.plan.faults {
            Faults::None => {}
            Faults::Kills => match draw {
                0..30 => self.kill(machine),
                30..70 => self.restart(machine),
                _ => {}
            },
            Faults::All => self.do_something(machine, draw),
        }
    }

    fn do_something(&mut self, machine: usize, draw: u64) {
        match draw {
            0..8 => self.kill(machine),
            8..13 => self.cut_power(machine),
            13..17 => self.arm(machine),
            17..19 => self.cut_all(),
            19..44 => self.restart(machine),
            44..48 => self.stop(machine),
            48..54 => self.pause(machine),
            54..64 => self.go_on(machine),
            64..73 => self.cut_links(machine),
            73..83 => {
                self.tell(|| "all links heal".to_owned());
                self.switch.heal();
            }
            83..87 => self.change_weather(),
            87..91 => self.slow_down(machine),
            91..94 => self.jump(machine),
            94..96 => self.wipe(machine),
            _ => {}
        }
    }

    fn kill(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.is_up()) else { return };
        machine.kill();
        let node = machine.node;
        self.switch.mark(|marks| marks.kills += 1);
        self.tell(|| format!("{node} is killed"));
    }

    fn cut_power(&mut self, machine: usize) {
        let survival = Survival::draw(&self.rng);
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.has_power) else {
            return;
        };
        machine.cut_power(survival);
        let node = machine.node;
        self.switch.mark(|marks| marks.power_cuts += 1);
        self.tell(|| format!("{node} loses power, of what was not synced survives {survival:?}"));
    }

    fn cut_all(&mut self) {
        self.switch.mark(|marks| marks.power_cuts_of_all += 1);
        (0..self.machines.len()).for_each(|machine| self.cut_power(machine));
    }

    /// The power will go in the middle of something.
    fn arm(&self, machine: usize) {
        let when = if self.rng.chance(1, 2) { Moment::Before } else { Moment::After };
        let (sections, survival) = (1 + self.rng.below(12), Survival::draw(&self.rng));
        if let Some(life) = self.machines.get(machine).and_then(|machine| machine.life.as_ref()) {
            life.process.arm(sections, survival, when);
        }
    }

    pub(super) fn restart(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| !machine.is_up()) else {
            return;
        };
        let node = machine.node;
        machine.start(&World::others(node));
        let disk = Duration::from_millis(self.plan.disk_ms);
        machine.life.iter().for_each(|life| life.process.slow_down(disk));
        self.switch.mark(|marks| marks.restarts += 1);
        self.tell(|| format!("{node} starts"));
    }

    fn stop(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine).filter(|machine| machine.is_up()) else { return };
        let node = machine.node;
        machine.stop();
        self.tell(|| format!("{node} is to stop"));
    }

    fn pause(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine) else { return };
        let node = machine.node;
        let Some(life) = machine.life.as_mut().filter(|life| !life.is_paused) else { return };
        life.is_paused = true;
        life.process.pause();
        self.switch.mark(|marks| marks.pauses += 1);
        self.tell(|| format!("{node} is paused"));
    }

    pub(super) fn go_on(&mut self, machine: usize) {
        let Some(machine) = self.machines.get_mut(machine) else { return };
        let node = machine.node;
        let Some(life) = machine.life.as_mut().filter(|life| life.is_paused) else { return };
        life.is_paused = false;
        life.process.go_on();
        self.tell(|| format!("{node} goes on"));
    }

    fn cut_links(&self, machine: usize) {
        let Some(one) = self.machines.get(machine).map(|machine| machine.node) else { return };
        let others: Vec<_> = World::others(one);
        let how = self.rng.below(5);
        self.tell(|| format!("links of {one} are cut, {how}"));
        match how {
            // In both directions, outwards, inwards.
            0..3 => {
                self.switch.mark(|marks| {
                    marks.isolated += u64::from(how == 0);
                    marks.halves += u64::from(how != 0);
                });
                for other in others {
                    if how != 1 {
                        self.switch.cut(other, one);
                    }
                    if how != 2 {
                        self.switch.cut(one, other);
                    }
                }
            }
            3 => {
                self.switch.mark(|marks| marks.pairs += 1);
                if let Some(other) = others.first() {
                    self.switch.cut(one, *other);
                    self.switch.cut(*other, one);
                }
            }
            _ => {
                self.switch.mark(|marks| marks.from_clients += 1);
                self.switch.cut(CLIENTS, one);
                self.switch.cut(one, CLIENTS);
            }
        }
    }

    fn change_weather(&self) {
        let weather = Weather {
            lost: self.rng.one_of([0, 10, 80]),
            repeated: self.rng.one_of([0, 30, 100]),
            reset: self.rng.one_of([0, 10, 40]),
            late_ms: self.rng.one_of([CALM.late_ms, 20, 150]),
        };
        self.tell(|| format!("{weather:?}"));
        self.switch.set_weather(weather);
    }

    fn slow_down(&self, machine: usize) {
        let ms = 1 + self.rng.below(300);
        if let Some(life) = self.machines.get(machine).and_then(|machine| machine.life.as_ref()) {
            life.process.slow_down(Duration::from_millis(ms));
            self.switch.mark(|marks| marks.slow_disks += 1);
        }
    }

    fn jump(&self, machine: usize) {
        let ms = i64::try_from(self.rng.below(14_400_000)).unwrap_or(0) - 7_200_000;
        if let Some(machine) = self.machines.get(machine) {
            machine.wall.jump(ms);
            self.switch.mark(|marks| marks.clock_jumps += 1);
            self.tell(|| format!("the clock of {} jumps by {ms} ms", machine.node));
        }
    }

    fn wipe(&mut self, machine: usize) {
        if !std::mem::take(&mut self.plan.may_wipe) {
            return;
        }
        let Some(machine) = self.machines.get_mut(machine) else { return };
        machine.lose_disk();
        let node = machine.node;
        self.switch.mark(|marks| marks.wiped += 1);
        self.tell(|| format!("the disk of {node} is lost"));
    }
}
