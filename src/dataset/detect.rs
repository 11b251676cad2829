//! Finds out how a data set is arranged, from what lies below its root.

use std::path::{Path, PathBuf};

use super::files::folders;
use super::{DatasetError, Layout, beside, folders as kinds, listed, realiad};

/// So many folders that hold one folder each may lie around a data set, as archives are unpacked.
const DEEPEST: usize = 5;

/// A look at files and folders; pictures are not opened. Lists go before folders, since they say more.
///
/// Returns the root as well: folders that hold nothing but one folder are passed through. Errors when
/// nothing fits, and names what would.
pub(super) fn layout(root: &Path) -> Result<(PathBuf, Layout), DatasetError> {
    if let Err(source) = std::fs::metadata(root) {
        return Err(DatasetError::Missing { path: root.to_owned(), layout: Layout::Auto.name(), source });
    }
    let mut place = root.to_owned();
    for _ in 0..DEEPEST {
        if let Some(layout) = at(&place) {
            return Ok((place, layout));
        }
        let inner = folders(&place);
        let [only] = inner.as_slice() else { break };
        place.clone_from(only);
    }
    Err(DatasetError::NoLayout { root: root.to_owned() })
}

impl Layout {
    /// The layout itself, or the one that [`Layout::Auto`] finds at `root`.
    pub fn resolve(self, root: &Path) -> Result<Self, DatasetError> {
        if self == Self::Auto { layout(root).map(|(_, layout)| layout) } else { Ok(self) }
    }
}

/// Does a folder look like a class?
type Fits = fn(&Path) -> bool;

fn at(root: &Path) -> Option<Layout> {
    if !realiad::lists(root).is_empty() {
        return Some(Layout::RealIad);
    }
    if root.is_file() || listed::has_meta(root) {
        return Some(Layout::Meta);
    }
    if root.join(listed::VISA_LIST).is_file() {
        return Some(Layout::Visa);
    }
    let inner = folders(root);
    let count = |fits: Fits| if fits(root) { usize::MAX } else { inner.iter().filter(|path| fits(path)).count() };
    let candidates: [(Layout, Fits); 3] =
        [(Layout::Mvtec, kinds::has_kinds), (Layout::Folders, kinds::is_plain), (Layout::Beside, beside::fits)];
    // Of equals the first.
    let best =
        candidates.into_iter().map(|(layout, fits)| (count(fits), layout)).rev().max_by_key(|(classes, _)| *classes);
    best.filter(|(classes, _)| *classes > 0).map(|(_, layout)| layout)
}
