//! What may be on a disk after a power loss: the operations of a process on the files of a folder, and the states that a file
//! system may keep of them.
//!
//! The model is the weakest that POSIX allows, as in "All File Systems Are Not Created Equal" (Pillai and others, OSDI 2014):
//! an operation is certain to survive only if a sync of its file or folder followed. Without one, a write may be lost, filled
//! with zeros or cut in half; a new name, a renaming or a removal may be lost; and any of them may survive while an earlier one
//! does not. A renaming happens wholly or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The number of a file or folder; it keeps it when it is renamed. The folder that is observed has the number 0.
pub type Inode = usize;

/// A name in a folder.
pub type Place = (Inode, String);

/// An operation that succeeded.
#[derive(Clone, Debug)]
pub enum Operation {
    /// An empty file got a name.
    Create(Place, Inode),
    /// An empty folder got a name.
    MakeFolder(Place, Inode),
    /// A file or folder got another name, and what had that name before lost it.
    Rename(Place, Place, Inode),
    /// A file or folder lost its name.
    Remove(Place, Inode),
    /// Bytes were written to a file at an offset.
    Write(Inode, usize, Vec<u8>),
    /// The length of a file was set.
    SetLength(Inode, usize),
    /// A file's content, or a folder's names, were synced to the disk.
    Sync(Inode),
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is on the disk.
    Kept,
    /// It is not.
    Lost,
    /// A write has reserved its place, and there are zeros.
    Zeroed,
    /// A write is there up to its middle.
    Halved,
}

/// A file or folder: its names, or the operations on its content that are on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Folder(BTreeMap<String, Inode>),
    File(Vec<(usize, Fate)>),
}

/// A folder as a disk keeps it: every file and folder in it by its path. Equal states hold the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State(BTreeMap<String, (Inode, Node)>);

/// A folder before some operations, and the operations.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Every file and folder before the operations; files without their content.
    before: Vec<Node>,
    /// The content of the files before the operations.
    contents: BTreeMap<Inode, Vec<u8>>,
    operations: Vec<Operation>,
    /// Every file and folder after all operations.
    after: Vec<Node>,
}

impl Recording {
    /// Begins with what is in `folder`, all of it on the disk.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self> {
        let (before, after) = (Vec::new(), Vec::new());
        let mut recording = Self { before, contents: BTreeMap::new(), operations: Vec::new(), after };
        recording.add(folder)?;
        recording.after = recording.before.clone();
        Ok(recording)
    }

    fn add(&mut self, path: &Path) -> Result<Inode> {
        let inode = self.before.len();
        self.before.push(Node::File(Vec::new()));
        if !path.is_dir() {
            let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            self.contents.insert(inode, bytes);
            return Ok(inode);
        }
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            names.insert(name, self.add(&path)?);
        }
        self.before[inode] = Node::Folder(names);
        Ok(inode)
    }

    /// Adds an operation.
    pub fn push(&mut self, operation: Operation) {
        apply(&mut self.after, self.operations.len(), &operation, Fate::Kept);
        self.operations.push(operation);
    }

    /// Returns the operations, in their order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Returns the number for the next file or folder.
    pub fn next_inode(&self) -> Inode {
        self.after.len()
    }

    /// Returns the length of a file after all operations.
    pub fn n_bytes(&self, file: Inode) -> usize {
        let Node::File(changes) = &self.after[file] else { return 0 };
        let before = self.contents.get(&file).map_or(0, Vec::len);
        changes.iter().fold(before, |n_bytes, &(i, _)| match &self.operations[i] {
            Operation::Write(_, at, bytes) => n_bytes.max(at + bytes.len()),
            Operation::SetLength(_, n_bytes) => *n_bytes,
            _ => n_bytes,
        })
    }

    /// Returns the file or folder at `path` after all operations.
    pub fn find(&self, path: &str) -> Option<Inode> {
        path.split('/').filter(|name| !name.is_empty()).try_fold(0, |folder, name| {
            match &self.after[folder] {
                Node::Folder(names) => names.get(name).copied(),
                Node::File(_) => None,
            }
        })
    }

    /// Returns the indices of the first `n` operations that no sync has made certain.
    pub fn unsynced(&self, n: usize) -> Vec<usize> {
        let mut unsynced: Vec<usize> = Vec::new();
        for (i, operation) in self.operations[..n].iter().enumerate() {
            match operation {
                Operation::Sync(inode) => {
                    unsynced.retain(|&i: &usize| self.operations[i].synced_with() != *inode)
                }
                _ => unsynced.push(i),
            }
        }
        unsynced
    }

    /// Returns the state of the disk if the first `n` operations are kept, except those that `fates` gives another fate.
    pub fn state(&self, n: usize, fates: &[(usize, Fate)]) -> State {
        let mut all = vec![Fate::Kept; n];
        fates.iter().for_each(|&(i, fate)| all[i] = fate);
        let mut nodes = self.before.clone();
        for (i, (operation, fate)) in self.operations.iter().zip(all).enumerate() {
            apply(&mut nodes, i, operation, fate);
        }
        let mut paths = BTreeMap::new();
        let mut folders = vec![(String::new(), 0)];
        while let Some((prefix, folder)) = folders.pop() {
            let Node::Folder(names) = &nodes[folder] else { continue };
            for (name, &inode) in names {
                let (path, node) = (format!("{prefix}{name}"), nodes[inode].clone());
                match node {
                    Node::Folder(_) => {
                        folders.push((format!("{path}/"), inode));
                        paths.insert(path, (0, Node::Folder(BTreeMap::new())));
                    }
                    Node::File(_) => drop(paths.insert(path, (inode, node))),
                }
            }
        }
        State(paths)
    }

    /// Returns the content of the file at `path` in `state`.
    pub fn content(&self, state: &State, path: &str) -> Option<Vec<u8>> {
        match state.0.get(path)? {
            (inode, Node::File(changes)) => Some(self.bytes(*inode, changes)),
            _ => None,
        }
    }

    /// Writes the state into an empty folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, state: &State, folder: &Path) -> Result<()> {
        for (path, (inode, node)) in &state.0 {
            let path = folder.join(path);
            let written = match node {
                Node::Folder(_) => fs::create_dir(&path),
                Node::File(changes) => fs::write(&path, self.bytes(*inode, changes)),
            };
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn bytes(&self, inode: Inode, changes: &[(usize, Fate)]) -> Vec<u8> {
        let mut content = self.contents.get(&inode).cloned().unwrap_or_default();
        for &(i, fate) in changes {
            match &self.operations[i] {
                Operation::Write(_, at, bytes) => {
                    let bytes = if fate == Fate::Halved { &bytes[..bytes.len() / 2] } else { &bytes[..] };
                    let end = at + bytes.len();
                    content.resize(content.len().max(end), 0);
                    match fate {
                        Fate::Zeroed => content[*at..end].fill(0),
                        _ => content[*at..end].copy_from_slice(bytes),
                    }
                }
                Operation::SetLength(_, n_bytes) => content.resize(*n_bytes, 0),
                _ => {}
            }
        }
        content
    }
}

impl State {
    /// Whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path)
    }

    /// Returns the paths of all files and folders, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl Operation {
    /// Returns the file or folder whose sync makes the operation certain.
    fn synced_with(&self) -> Inode {
        match self {
            Self::Create((folder, _), _) | Self::MakeFolder((folder, _), _) => *folder,
            Self::Rename(_, (folder, _), _) | Self::Remove((folder, _), _) => *folder,
            Self::Write(inode, ..) | Self::SetLength(inode, _) | Self::Sync(inode) => *inode,
        }
    }

    /// Describes the operation in a few words.
    pub fn shown(&self) -> String {
        match self {
            Self::Create((_, name), _) => format!("create {name}"),
            Self::MakeFolder((_, name), _) => format!("make the folder {name}"),
            Self::Rename((_, from), (_, to), _) => format!("rename {from} to {to}"),
            Self::Remove((_, name), _) => format!("remove {name}"),
            Self::Write(inode, at, bytes) => format!("write {} bytes at {at} of file {inode}", bytes.len()),
            Self::SetLength(inode, n) => format!("set the length of file {inode} to {n}"),
            Self::Sync(inode) => format!("sync {inode}"),
        }
    }
}

fn apply(nodes: &mut Vec<Node>, i: usize, operation: &Operation, fate: Fate) {
    let is_kept = fate != Fate::Lost;
    let set = |nodes: &mut Vec<Node>, (folder, name): &Place, inode: Inode| {
        if let Node::Folder(names) = &mut nodes[*folder] {
            names.insert(name.clone(), inode);
        }
    };
    let remove = |nodes: &mut Vec<Node>, (folder, name): &Place, inode: Inode| {
        if let Node::Folder(names) = &mut nodes[*folder]
            && names.get(name) == Some(&inode)
        {
            names.remove(name);
        }
    };
    match operation {
        // a file or folder is always there, but perhaps without a name
        Operation::Create(place, inode) | Operation::MakeFolder(place, inode) => {
            let is_file = matches!(operation, Operation::Create(..));
            nodes.resize(nodes.len().max(inode + 1), Node::File(Vec::new()));
            nodes[*inode] = if is_file { Node::File(Vec::new()) } else { Node::Folder(BTreeMap::new()) };
            if is_kept {
                set(nodes, place, *inode);
            }
        }
        Operation::Rename(from, to, inode) if is_kept => {
            remove(nodes, from, *inode);
            set(nodes, to, *inode);
        }
        Operation::Remove(place, inode) if is_kept => remove(nodes, place, *inode),
        Operation::Write(inode, ..) | Operation::SetLength(inode, _) if is_kept => {
            if let Node::File(changes) = &mut nodes[*inode] {
                changes.push((i, fate));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes to a temporary file, perhaps syncs it, renames it over `a`, and perhaps syncs the folder.
    fn replacing(syncs_file: bool, syncs_folder: bool) -> Recording {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "old").unwrap();
        let mut recording = Recording::of_folder(folder.path()).unwrap();
        let (old, new) = (recording.find("a").unwrap(), recording.next_inode());
        assert_eq!((old, new), (1, 2));
        let tmp = (0, "tmp".to_owned());
        recording.push(Operation::Create(tmp.clone(), new));
        recording.push(Operation::Write(new, 0, b"new ".to_vec()));
        recording.push(Operation::Write(new, 4, b"text".to_vec()));
        if syncs_file {
            recording.push(Operation::Sync(new));
        }
        recording.push(Operation::Rename(tmp, (0, "a".to_owned()), new));
        if syncs_folder {
            recording.push(Operation::Sync(0));
        }
        recording
    }

    fn content_of_a(recording: &Recording, fates: &[(usize, Fate)]) -> Option<String> {
        let state = recording.state(recording.operations.len(), fates);
        recording.content(&state, "a").map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_sync_makes_what_was_before_it_certain() {
        let careless = replacing(false, false);
        assert_eq!(careless.unsynced(4), [0, 1, 2, 3]);
        let with = |fates: &[(usize, Fate)]| content_of_a(&careless, fates).unwrap();
        assert_eq!(with(&[]), "new text");
        assert_eq!(with(&[0, 1, 2, 3].map(|i| (i, Fate::Lost))), "old");
        assert_eq!(with(&[(3, Fate::Lost)]), "old");
        assert_eq!(with(&[(1, Fate::Lost)]), "\0\0\0\0text");
        assert_eq!(with(&[(2, Fate::Lost)]), "new ");
        assert_eq!(with(&[(0, Fate::Lost)]), "new text", "the renaming gave it a name");
        assert_eq!(with(&[(2, Fate::Zeroed)]), "new \0\0\0\0");
        assert_eq!(with(&[(2, Fate::Halved)]), "new te");

        assert_eq!(replacing(true, false).unsynced(5), [0, 4], "the names, in the folder");
        assert_eq!(replacing(true, true).unsynced(6), [0; 0]);
    }

    #[test]
    fn a_folder_without_a_name_hides_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut recording = Recording::of_folder(folder.path()).unwrap();
        recording.push(Operation::MakeFolder((0, "f".to_owned()), 1));
        recording.push(Operation::Create((1, "x".to_owned()), 2));
        recording.push(Operation::Write(2, 0, b"abc".to_vec()));
        recording.push(Operation::SetLength(2, 2));
        recording.push(Operation::Remove((1, "x".to_owned()), 2));
        let state = recording.state(4, &[]);
        assert!(state.has("f") && recording.content(&state, "f/x").as_deref() == Some(b"ab"));
        assert!(!recording.state(4, &[(0, Fate::Lost)]).has("f/x"));
        assert!(!recording.state(5, &[]).has("f/x"));
        assert_eq!((recording.n_bytes(2), recording.find("f"), recording.find("f/x")), (2, Some(1), None));

        recording.write(&state, folder.path()).unwrap();
        assert_eq!(fs::read(folder.path().join("f/x")).unwrap(), b"ab");
    }
}
