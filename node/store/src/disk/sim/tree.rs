//! Directories and files of a simulated disk at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::content::Content;

/// A file or directory, whatever its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Node(pub(super) u64);

pub(super) const ROOT: Node = Node(0);

type Names = BTreeMap<String, Node>;

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) dir: Node,
    pub(super) name: String,
}

#[derive(Clone)]
pub(super) struct Tree {
    pub(super) dirs: BTreeMap<Node, Arc<Names>>,
    pub(super) files: BTreeMap<Node, Content>,
}

impl Tree {
    /// Only the root directory.
    pub(super) fn new() -> Self {
        Self {
            dirs: BTreeMap::from([(ROOT, Arc::default())]),
            files: BTreeMap::new(),
        }
    }

    /// The node at `path`.
    pub(super) fn find(&self, path: &Path) -> io::Result<Node> {
        let mut node = ROOT;
        for name in components(path)? {
            node = *self.names(node)?.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Node> {
        let node = self.find(path)?;
        if self.dirs.contains_key(&node) {
            Err(Errno::ISDIR.into())
        } else {
            Ok(node)
        }
    }

    /// The entry that `path` names; its directory exists, the entry may not.
    pub(super) fn entry(&self, path: &Path) -> io::Result<Name> {
        let names = components(path)?;
        let (last, parents) = names.split_last().ok_or(Errno::INVAL)?;
        let mut dir = ROOT;
        for name in parents {
            dir = *self.names(dir)?.get(*name).ok_or(Errno::NOENT)?;
        }
        self.names(dir)?;
        Ok(Name {
            dir,
            name: (*last).to_owned(),
        })
    }

    pub(super) fn get(&self, entry: &Name) -> Option<Node> {
        self.dirs.get(&entry.dir)?.get(&entry.name).copied()
    }

    /// Points a directory entry at a node, or removes it.
    pub(super) fn set(&mut self, entry: &Name, node: Option<Node>) {
        let names = Arc::make_mut(self.dirs.entry(entry.dir).or_default());
        match node {
            Some(node) => names.insert(entry.name.clone(), node),
            None => names.remove(&entry.name),
        };
    }

    /// Entries of a directory.
    pub(super) fn names(&self, dir: Node) -> io::Result<&Names> {
        Ok(self.dirs.get(&dir).ok_or(Errno::NOTDIR)?.as_ref())
    }

    /// Whether `inner` is `outer` or lies below it.
    pub(super) fn is_within(&self, inner: Node, outer: Node) -> bool {
        inner == outer
            || self.names(outer).is_ok_and(|names| {
                names
                    .values()
                    .any(|child| self.dirs.contains_key(child) && self.is_within(inner, *child))
            })
    }

    /// Nodes that a directory names, and the root.
    pub(super) fn named(&self) -> BTreeSet<Node> {
        let mut named: BTreeSet<Node> = self
            .dirs
            .values()
            .flat_map(|names| names.values().copied())
            .collect();
        named.insert(ROOT);
        named
    }

    /// Drops nodes outside `kept`.
    pub(super) fn retain(&mut self, kept: &BTreeSet<Node>) {
        self.dirs.retain(|node, _| kept.contains(node));
        self.files.retain(|node, _| kept.contains(node));
    }

    /// Drops everything that no path reaches.
    pub(super) fn retain_reachable(&mut self) {
        let reached = self
            .walk()
            .into_iter()
            .map(|(_, node)| node)
            .chain([ROOT])
            .collect();
        self.retain(&reached);
    }

    /// Every path below the root with its node, in order.
    pub(super) fn walk(&self) -> Vec<(PathBuf, Node)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, dir)) = open.pop() {
            for (name, node) in self
                .dirs
                .get(&dir)
                .into_iter()
                .flat_map(|names| names.iter())
            {
                let path = path.join(name);
                if self.dirs.contains_key(node) {
                    open.push((path.clone(), *node));
                }
                found.push((path, *node));
            }
        }
        found.sort();
        found
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.files.values().map(Content::allocated_bytes).sum()
    }
}

/// Names on the way from the root; a relative path starts there too.
pub(super) fn components(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::INVAL)?),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}
