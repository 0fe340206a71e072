//! The directory tree, twice: as the process sees it and as the medium has it.
//!
//! Every change of entries goes to the cache at once and into a list of pending changes; `sync_dir` applies those
//! of its directory to the medium. A name on the medium holds the file itself: a file whose bytes were synced but
//! whose entry was not is lost with the entry.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::file::Inode;
use crate::{DirEntry, EntryKind};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct DirId(u64);

const ROOT: DirId = DirId(0);

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<Inode>),
    Dir(DirId),
}

/// A directory and a name in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    dir: DirId,
    name: String,
}

type Entries = BTreeMap<String, Node>;

#[derive(Default, Debug)]
struct Directory {
    cache: Entries,
    medium: Entries,
}

/// One atomic change: the node that used to be at `from` is at `to`. Creations have no `from`, removals no `to`.
#[derive(Debug)]
struct Change {
    node: Node,
    from: Option<Place>,
    to: Option<Place>,
    paths: Vec<PathBuf>,
}

#[derive(Debug)]
pub(super) struct Tree {
    directories: BTreeMap<DirId, Directory>,
    pending: Vec<Change>,
    id_next: u64,
}

/// Which of the two views a path is looked up in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    Cache,
    Medium,
}

impl Node {
    fn id(&self) -> u64 {
        match self {
            Node::File(inode) => inode.id(),
            Node::Dir(dir) => dir.0,
        }
    }
}

impl Change {
    fn places(&self) -> impl Iterator<Item = &Place> {
        self.from.iter().chain(&self.to)
    }

    fn touches(&self, dir: DirId) -> bool {
        self.places().any(|place| place.dir == dir)
    }
}

/// The names of a path. `.` and the root are left out; `..` and what is not UTF-8 are refused.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::INVAL)?),
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}

impl Tree {
    pub(super) fn new() -> Tree {
        let directories = BTreeMap::from([(ROOT, Directory::default())]);
        Tree { directories, pending: Vec::new(), id_next: ROOT.0 + 1 }
    }

    /// The same tree over files of its own: `fork` is asked for each file once.
    pub(super) fn fork(&self, fork: &mut dyn FnMut(&Inode) -> Arc<Inode>) -> Tree {
        let files: BTreeMap<u64, Arc<Inode>> =
            self.files().into_iter().map(|(id, inode)| (id, fork(&inode))).collect();
        let node = |node: &Node| match node {
            Node::File(inode) => {
                Node::File(files.get(&inode.id()).map_or_else(|| Arc::clone(inode), Arc::clone))
            }
            Node::Dir(dir) => Node::Dir(*dir),
        };
        let entries = |entries: &Entries| entries.iter().map(|(name, at)| (name.clone(), node(at))).collect();
        let directory = |of: &Directory| Directory { cache: entries(&of.cache), medium: entries(&of.medium) };
        let change = |change: &Change| Change {
            node: node(&change.node),
            from: change.from.clone(),
            to: change.to.clone(),
            paths: change.paths.clone(),
        };
        Tree {
            directories: self.directories.iter().map(|(id, of)| (*id, directory(of))).collect(),
            pending: self.pending.iter().map(change).collect(),
            id_next: self.id_next,
        }
    }

    /// Calls `note` with every directory and file that the medium has, in the order of their paths.
    pub(super) fn walk_medium(&self, note: &mut dyn FnMut(&Path, Option<&Inode>)) {
        let mut next = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = next.pop() {
            note(&path, None);
            let Ok(entries) = self.entries(dir, View::Medium) else { continue };
            for (name, node) in entries {
                match node {
                    Node::File(inode) => note(&path.join(name), Some(inode)),
                    Node::Dir(dir) => next.push((path.join(name), *dir)),
                }
            }
        }
    }

    /// Numbers files and directories in the order of their creation.
    pub(super) fn take_id(&mut self) -> u64 {
        let id = self.id_next;
        self.id_next += 1;
        id
    }

    fn entries(&self, dir: DirId, view: View) -> io::Result<&Entries> {
        let directory = self.directories.get(&dir).ok_or(Errno::NOENT)?;
        Ok(match view {
            View::Cache => &directory.cache,
            View::Medium => &directory.medium,
        })
    }

    pub(super) fn find(&self, path: &Path, view: View) -> io::Result<Node> {
        let mut node = Node::Dir(ROOT);
        for name in names(path)? {
            let Node::Dir(dir) = node else {
                return Err(Errno::NOTDIR.into());
            };
            node = self.entries(dir, view)?.get(name).ok_or(Errno::NOENT)?.clone();
        }
        Ok(node)
    }

    pub(super) fn find_dir(&self, path: &Path) -> io::Result<DirId> {
        match self.find(path, View::Cache)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(Errno::NOTDIR.into()),
        }
    }

    /// The place of `path`, whose parent must exist, and what is there.
    pub(super) fn place(&self, path: &Path) -> io::Result<(Place, Option<Node>)> {
        let mut parents = names(path)?;
        let name = parents.pop().ok_or(Errno::INVAL)?;
        let dir = self.find_dir(&parents.iter().collect::<PathBuf>())?;
        let node = self.entries(dir, View::Cache)?.get(name).cloned();
        Ok((Place { dir, name: name.to_owned() }, node))
    }

    fn change(&mut self, change: Change) {
        self.apply(&change, View::Cache);
        self.pending.push(change);
    }

    fn apply(&mut self, change: &Change, view: View) {
        if let Some(place) = &change.from
            && let Some(entries) = self.entries_mut(place.dir, view)
        {
            entries.remove(&place.name);
        }
        if let Some(place) = &change.to
            && let Some(entries) = self.entries_mut(place.dir, view)
        {
            entries.insert(place.name.clone(), change.node.clone());
        }
    }

    fn entries_mut(&mut self, dir: DirId, view: View) -> Option<&mut Entries> {
        let directory = self.directories.get_mut(&dir)?;
        Some(match view {
            View::Cache => &mut directory.cache,
            View::Medium => &mut directory.medium,
        })
    }

    pub(super) fn add_file(&mut self, path: &Path, place: Place, inode: Arc<Inode>) {
        let paths = vec![path.to_owned()];
        self.change(Change { node: Node::File(inode), from: None, to: Some(place), paths });
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut so_far = PathBuf::from("/");
        for name in names(path)? {
            so_far.push(name);
            match self.place(&so_far)? {
                (_, Some(Node::Dir(_))) => {}
                (_, Some(Node::File(_))) => return Err(Errno::EXIST.into()),
                (place, None) => {
                    let dir = DirId(self.take_id());
                    self.directories.insert(dir, Directory::default());
                    let paths = vec![so_far.clone()];
                    self.change(Change { node: Node::Dir(dir), from: None, to: Some(place), paths });
                }
            }
        }
        Ok(())
    }

    fn is_empty(&self, dir: DirId) -> bool {
        self.entries(dir, View::Cache).is_ok_and(Entries::is_empty)
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.place(path)? {
            (_, None) => Err(Errno::NOENT.into()),
            (_, Some(Node::File(_))) => Err(Errno::NOTDIR.into()),
            (_, Some(Node::Dir(dir))) if !self.is_empty(dir) => Err(Errno::NOTEMPTY.into()),
            (place, Some(node)) => {
                self.change(Change { node, from: Some(place), to: None, paths: vec![path.to_owned()] });
                Ok(())
            }
        }
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        match self.place(path)? {
            (_, None) => Err(Errno::NOENT.into()),
            (_, Some(Node::Dir(_))) => Err(Errno::ISDIR.into()),
            (place, Some(node)) => {
                self.change(Change { node, from: Some(place), to: None, paths: vec![path.to_owned()] });
                Ok(())
            }
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (source, node) = self.place(from)?;
        let node = node.ok_or(Errno::NOENT)?;
        let (target, replaced) = self.place(to)?;
        match (&node, &replaced) {
            (_, Some(replaced)) if replaced.id() == node.id() => return Ok(()),
            (Node::File(_), Some(Node::Dir(_))) => return Err(Errno::ISDIR.into()),
            (Node::Dir(_), Some(Node::File(_))) => return Err(Errno::NOTDIR.into()),
            (Node::Dir(_), Some(Node::Dir(dir))) if !self.is_empty(*dir) => {
                return Err(Errno::NOTEMPTY.into());
            }
            (Node::Dir(_), _) if names(to)?.starts_with(&names(from)?) => return Err(Errno::INVAL.into()),
            _ => {}
        }
        let paths = vec![from.to_owned(), to.to_owned()];
        self.change(Change { node, from: Some(source), to: Some(target), paths });
        Ok(())
    }

    pub(super) fn list(&self, dir: DirId) -> io::Result<Vec<DirEntry>> {
        let kind = |node: &Node| match node {
            Node::File(_) => EntryKind::File,
            Node::Dir(_) => EntryKind::Dir,
        };
        let entries = self.entries(dir, View::Cache)?.iter();
        Ok(entries.map(|(name, node)| DirEntry { name: name.clone(), kind: kind(node) }).collect())
    }

    /// Brings the pending changes of `dir` to the medium, after those that they build on.
    pub(super) fn sync(&mut self, dir: DirId) {
        let asked: Vec<bool> = self.pending.iter().map(|change| change.touches(dir)).collect();
        self.settle(&asked);
    }

    pub(super) fn sync_all(&mut self) {
        self.settle(&vec![true; self.pending.len()]);
    }

    /// A sync of the directory that failed: its changes count as clean, and nothing was moved.
    pub(super) fn fail_sync(&mut self, dir: DirId) {
        self.pending.retain(|change| !change.touches(dir));
    }

    pub(super) fn fail_sync_all(&mut self) {
        self.pending.clear();
    }

    /// Applies the changes that were `asked` for to the medium, with what they build on, and forgets them: earlier
    /// changes of the same names, and so of the same nodes, whose path through the names they are.
    fn settle(&mut self, asked: &[bool]) {
        let mut places = BTreeSet::new();
        let mut moved = vec![false; self.pending.len()];
        for (index, change) in self.pending.iter().enumerate().rev() {
            let built_on = change.places().any(|place| places.contains(place));
            if built_on || asked.get(index).is_some_and(|asked| *asked) {
                places.extend(change.places());
                if let Some(moved) = moved.get_mut(index) {
                    *moved = true;
                }
            }
        }
        let mut kept = Vec::new();
        for (change, moved) in std::mem::take(&mut self.pending).into_iter().zip(moved) {
            if moved {
                self.apply(&change, View::Medium);
            } else {
                kept.push(change);
            }
        }
        self.pending = kept;
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &[PathBuf]> {
        self.pending.iter().map(|change| change.paths.as_slice())
    }

    /// Every file that either view or a pending change still knows, by identity.
    pub(super) fn files(&self) -> BTreeMap<u64, Arc<Inode>> {
        let entries = self.directories.values().flat_map(|d| d.cache.values().chain(d.medium.values()));
        let nodes = entries.chain(self.pending.iter().map(|change| &change.node));
        let file = |node: &Node| match node {
            Node::File(inode) => Some((inode.id(), Arc::clone(inode))),
            Node::Dir(_) => None,
        };
        nodes.filter_map(file).collect()
    }

    /// The power goes: `survives` decides about each pending change; what is left of the medium is all there is.
    pub(super) fn lose_power(&mut self, survives: &mut dyn FnMut(&[PathBuf]) -> bool) {
        let asked: Vec<bool> = self.pending.iter().map(|change| survives(&change.paths)).collect();
        self.settle(&asked);
        self.pending.clear();
        for directory in self.directories.values_mut() {
            directory.cache = directory.medium.clone();
        }
        let mut reached = BTreeSet::new();
        let mut next = vec![ROOT];
        while let Some(dir) = next.pop() {
            if reached.insert(dir) {
                let entries = self.directories.get(&dir).map(|d| d.medium.values()).into_iter().flatten();
                next.extend(entries.filter_map(|node| match node {
                    Node::Dir(dir) => Some(*dir),
                    Node::File(_) => None,
                }));
            }
        }
        self.directories.retain(|dir, _| reached.contains(dir));
    }
}
