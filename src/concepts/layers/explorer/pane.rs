//! A tree as rows: which of its names are shown, in which order, and which of them is selected.
//!
//! Separate from drawing and from keys, so that both are short and this can be tested without a screen. One kind of rows
//! serves both trees, that of a layer and that of all layers merged: a name is a number in either.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::super::{Listed, words};
use crate::image::listing::Change;
use crate::image::listing::merge::{At, inode};
use crate::image::unpack::list::{Inode, What};
use crate::image::unpack::shown_whole as shown;

/// With at most so many names a tree begins unfolded.
const FEW: usize = 300;

/// Which tree is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// What one layer does, counted from 0.
    Layer(usize),
    /// What a container sees.
    Merged,
}

/// A name of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Its number.
    pub id: u32,
    /// How many directories it is in.
    pub depth: usize,
    /// The row of the directory that it is in.
    pub parent: Option<usize>,
}

/// A tree that is looked at.
#[derive(Debug, Clone)]
pub struct Pane {
    view: View,
    /// Directories that show what is in them.
    open: HashSet<u32>,
    /// What names must contain, in small letters; empty for all.
    filter: String,
    /// The bytes of the files in and below each directory.
    sums: Vec<u64>,
    /// The rows.
    pub rows: Vec<Row>,
    /// The selected row.
    pub at: usize,
    /// The first row on the screen.
    pub top: usize,
}

impl View {
    /// What is in a directory.
    pub fn children(self, listed: &Listed, id: u32) -> &BTreeMap<Arc<[u8]>, u32> {
        match self {
            Self::Layer(layer) => &listed.layers[layer].nodes[id as usize].children,
            Self::Merged => &listed.merged.spots[id as usize].children,
        }
    }

    /// The last component of a name.
    pub fn name(self, listed: &Listed, id: u32) -> &[u8] {
        let at = match self {
            Self::Layer(layer) => return &listed.layers[layer].nodes[id as usize].name,
            Self::Merged => listed.merged.spots[id as usize].at,
        };
        &listed.layers[at.layer as usize].nodes[at.node as usize].name
    }

    /// What a name stands for.
    pub fn inode(self, listed: &Listed, id: u32) -> &Inode {
        match self {
            Self::Layer(layer) => listed.layers[layer].inode(id),
            Self::Merged => inode(&listed.layers, listed.merged.spots[id as usize].attributes),
        }
    }

    /// What the layer does at a name; nothing in the merged tree.
    pub fn change(self, listed: &Listed, id: u32) -> Option<&Change> {
        let Self::Layer(layer) = self else { return None };
        listed.merged.change(At { layer: u32::try_from(layer).unwrap_or(u32::MAX), node: id })
    }

    /// The letter of what the layer does at a name; in the merged tree, the number of the layer that it is from.
    pub fn sign(self, listed: &Listed, id: u32) -> String {
        match self {
            Self::Layer(_) => {
                let sign = |change: &Change| words::sign(change.mark, self.inode(listed, id));
                self.change(listed, id).map_or('A', sign).to_string()
            }
            Self::Merged => (listed.merged.spots[id as usize].attributes.layer + 1).to_string(),
        }
    }

    fn sums(self, listed: &Listed) -> Vec<u64> {
        match self {
            Self::Layer(layer) => listed.layers[layer].sums(),
            Self::Merged => listed.merged.sums(&listed.layers),
        }
    }

    fn is_directory(self, listed: &Listed, id: u32) -> bool {
        self.inode(listed, id).what == What::Directory
    }
}

impl Pane {
    /// A tree from its beginning: a small one unfolded, a large one with what is in its root.
    pub fn new(view: View, listed: &Listed) -> Self {
        let sums = view.sums(listed);
        let empty = HashSet::new();
        let mut pane =
            Self { view, open: empty, filter: String::new(), sums, rows: Vec::new(), at: 0, top: 0 };
        pane.set_all_open(listed, true);
        if pane.rows.len() > FEW {
            pane.set_all_open(listed, false);
        }
        pane
    }

    /// The selected name.
    pub fn selected(&self) -> Option<u32> {
        self.rows.get(self.at).map(|row| row.id)
    }

    /// The bytes of a file, or of all files below a directory.
    pub fn size(&self, listed: &Listed, id: u32) -> u64 {
        match self.view.inode(listed, id).what {
            What::Directory => self.sums[id as usize],
            _ => self.view.inode(listed, id).size,
        }
    }

    /// Whether a directory shows what is in it.
    pub fn is_open(&self, id: u32) -> bool {
        !self.filter.is_empty() || self.open.contains(&id)
    }

    /// The path of a row.
    pub fn path(&self, listed: &Listed, row: usize) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut next = Some(row);
        while let Some(at) = next {
            parts.push(self.name(listed, at));
            next = self.rows[at].parent;
        }
        parts.reverse();
        parts.join(&b'/')
    }

    /// The name of a row.
    pub fn name<'l>(&self, listed: &'l Listed, row: usize) -> &'l [u8] {
        self.view.name(listed, self.rows[row].id)
    }

    /// Opens or closes every directory.
    pub fn set_all_open(&mut self, listed: &Listed, open: bool) {
        self.open.clear();
        if open {
            let mut pending = vec![0];
            while let Some(id) = pending.pop() {
                let below = self.view.children(listed, id).values();
                pending.extend(below.filter(|child| self.view.is_directory(listed, **child)));
                self.open.insert(id);
            }
        }
        self.arrange(listed);
    }

    /// Opens the selected directory, or closes it. Gives whether it is one.
    pub fn toggle(&mut self, listed: &Listed) -> bool {
        let Some(id) = self.selected().filter(|id| self.view.is_directory(listed, *id)) else { return false };
        if !self.open.remove(&id) {
            self.open.insert(id);
        }
        self.arrange(listed);
        true
    }

    /// Opens the selected directory; the selection goes to what is in it if it is open already.
    pub fn go_in(&mut self, listed: &Listed) {
        let Some(id) = self.selected().filter(|id| self.view.is_directory(listed, *id)) else { return };
        if self.is_open(id) {
            let next = self.rows.get(self.at + 1);
            self.at += usize::from(next.is_some_and(|row| row.parent == Some(self.at)));
        } else {
            self.toggle(listed);
        }
    }

    /// Closes the selected directory; the selection goes to the one above if there is nothing to close.
    pub fn go_out(&mut self, listed: &Listed) {
        let Some(id) = self.selected() else { return };
        if self.filter.is_empty() && self.open.contains(&id) {
            self.toggle(listed);
        } else if let Some(parent) = self.rows[self.at].parent {
            self.at = parent;
        }
    }

    /// Shows only names that contain this, with the directories that lead to them.
    pub fn set_filter(&mut self, listed: &Listed, filter: &str) {
        filter.to_lowercase().clone_into(&mut self.filter);
        self.arrange(listed);
    }

    /// Moves the selection.
    pub fn go(&mut self, by: isize) {
        self.at = self.at.saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
    }

    /// Moves what is shown so that the selection is on the screen.
    pub fn scroll(&mut self, height: usize) {
        self.top = self.top.min(self.at).max((self.at + 1).saturating_sub(height.max(1)));
    }

    /// Makes the rows anew; the selection stays at its name if that is still shown.
    fn arrange(&mut self, listed: &Listed) {
        let selected = self.selected();
        let kept = (!self.filter.is_empty()).then(|| self.matching(listed));
        self.rows.clear();
        let mut pending: Vec<Row> = self.below(listed, 0, 0, None);
        while let Some(row) = pending.pop() {
            if kept.as_ref().is_some_and(|kept| !kept.contains(&row.id)) {
                continue;
            }
            let at = self.rows.len();
            self.rows.push(row);
            if self.is_open(row.id) {
                pending.extend(self.below(listed, row.id, row.depth + 1, Some(at)));
            }
        }
        let again = selected.and_then(|id| self.rows.iter().position(|row| row.id == id));
        self.at = again.unwrap_or(self.at).min(self.rows.len().saturating_sub(1));
    }

    /// What is in a directory, the last first.
    fn below(&self, listed: &Listed, id: u32, depth: usize, parent: Option<usize>) -> Vec<Row> {
        let all = self.view.children(listed, id).values().rev();
        all.map(|&id| Row { id, depth, parent }).collect()
    }

    /// The names that pass the filter, and the directories above them.
    fn matching(&self, listed: &Listed) -> HashSet<u32> {
        let mut kept = HashSet::new();
        let mut pending: Vec<(u32, Vec<u32>, String)> = vec![(0, Vec::new(), String::new())];
        while let Some((id, above, path)) = pending.pop() {
            for (name, &child) in self.view.children(listed, id) {
                let path = format!("{path}/{}", shown(name).to_lowercase());
                if path.contains(&self.filter) {
                    kept.insert(child);
                    kept.extend(above.iter().copied());
                }
                if self.view.is_directory(listed, child) {
                    let above = above.iter().copied().chain([child]).collect();
                    pending.push((child, above, path));
                }
            }
        }
        kept
    }
}
