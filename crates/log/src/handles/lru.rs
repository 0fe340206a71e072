//! Which of many things are open, the least recently used closed first. Every step takes the same short time, however
//! many there are: places in a slab, linked into a list by the order of their use.
//!
//! ```text
//!   newest ◄──► ... ◄──► oldest ──evicted──► closed        pinned: open, but not in the list
//!      ▲                                        │
//!      └──────────────── opened ────────────────┘          gone: closed for ever
//! ```

/// The place of one thing.
pub(super) type Key = u32;

const NONE: Key = Key::MAX;

/// What is known of a thing.
#[derive(Debug)]
enum State<T> {
    Closed,
    Open(T),
    /// It will never be opened again: whatever lies under its name now is another thing.
    Gone,
}

#[derive(Debug)]
struct Place<T> {
    state: State<T>,
    /// How many rely on it staying open.
    pins: u32,
    newer: Key,
    older: Key,
}

/// The answer to a look-up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    Open(T),
    Closed,
    Gone,
}

/// The things.
#[derive(Debug)]
pub(super) struct Lru<T> {
    places: Vec<Place<T>>,
    free: Vec<Key>,
    newest: Key,
    oldest: Key,
    open: usize,
    max: usize,
}

impl<T: Clone> Lru<T> {
    /// Keeps at most `max` things open, unless more are pinned.
    pub(super) fn new(max: usize) -> Lru<T> {
        Lru { places: Vec::new(), free: Vec::new(), newest: NONE, oldest: NONE, open: 0, max }
    }

    /// A place for one more thing, which is closed.
    pub(super) fn add(&mut self) -> Key {
        let place = Place { state: State::Closed, pins: 0, newer: NONE, older: NONE };
        match self.free.pop() {
            Some(key) => {
                *self.place(key) = place;
                key
            }
            None => {
                self.places.push(place);
                Key::try_from(self.places.len() - 1).unwrap_or(NONE)
            }
        }
    }

    /// Gives the place up, and hands back what was open in it.
    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let open = self.close(key, State::Closed);
        self.free.push(key);
        open
    }

    /// What is in the place, which makes it the one that was used last.
    pub(super) fn find(&mut self, key: Key) -> Found<T> {
        let found = match &self.place(key).state {
            State::Open(open) => Found::Open(open.clone()),
            State::Closed => return Found::Closed,
            State::Gone => return Found::Gone,
        };
        if self.place(key).pins == 0 && self.newest != key {
            self.unlink(key);
            self.link(key);
        }
        found
    }

    /// As [`Lru::find`]; what is found stays open until it is unpinned as often as it was pinned.
    pub(super) fn pin(&mut self, key: Key) -> Found<T> {
        let found = self.find(key);
        if matches!(found, Found::Open(_)) {
            if self.place(key).pins == 0 {
                self.unlink(key);
            }
            self.place(key).pins += 1;
        }
        found
    }

    /// Takes a pin back.
    pub(super) fn unpin(&mut self, key: Key) {
        let place = self.place(key);
        place.pins = place.pins.saturating_sub(1);
        if place.pins == 0 && matches!(place.state, State::Open(_)) {
            self.link(key);
        }
    }

    /// Keeps what was opened for a place, unless somebody was faster or it is gone meanwhile.
    pub(super) fn offer(&mut self, key: Key, opened: &T) {
        if matches!(self.place(key).state, State::Closed) {
            self.place(key).state = State::Open(opened.clone());
            self.open += 1;
            self.link(key);
        }
    }

    /// From now on the thing is gone. Hands back what was open.
    pub(super) fn lose(&mut self, key: Key) -> Option<T> {
        self.close(key, State::Gone)
    }

    /// Closes the thing; it may be opened again. Hands back what was open.
    pub(super) fn shut(&mut self, key: Key) -> Option<T> {
        if self.is_gone(key) { None } else { self.close(key, State::Closed) }
    }

    pub(super) fn is_gone(&mut self, key: Key) -> bool {
        matches!(self.place(key).state, State::Gone)
    }

    /// Closes the thing that was used least recently, if more are open than should be. Nothing is closed that is pinned.
    pub(super) fn evict_surplus(&mut self) -> Option<T> {
        if self.open > self.max { self.evict() } else { None }
    }

    /// Closes the thing that was used least recently and is not pinned.
    pub(super) fn evict(&mut self) -> Option<T> {
        let oldest = self.oldest;
        if oldest == NONE { None } else { self.close(oldest, State::Closed) }
    }

    /// How many are open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    fn close(&mut self, key: Key, after: State<T>) -> Option<T> {
        match std::mem::replace(&mut self.place(key).state, after) {
            State::Open(open) => {
                self.open -= 1;
                if self.place(key).pins == 0 {
                    self.unlink(key);
                }
                Some(open)
            }
            State::Closed | State::Gone => None,
        }
    }

    fn place(&mut self, key: Key) -> &mut Place<T> {
        // Keys are given out by `add` and held by the slot that gives them up.
        &mut self.places[key as usize]
    }

    /// Puts a place at the newest end of the list.
    fn link(&mut self, key: Key) {
        let newest = self.newest;
        let place = self.place(key);
        (place.newer, place.older) = (NONE, newest);
        match newest {
            NONE => self.oldest = key,
            newest => self.place(newest).newer = key,
        }
        self.newest = key;
    }

    /// Takes a place out of the list that it is in.
    fn unlink(&mut self, key: Key) {
        let (newer, older) = (self.place(key).newer, self.place(key).older);
        match newer {
            NONE => self.newest = older,
            newer => self.place(newer).older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.place(older).newer = newer,
        }
    }
}
