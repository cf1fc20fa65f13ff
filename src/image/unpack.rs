//! STUB, to be deleted when `src/image/unpack/` is merged: only the shape that the store is written against.

/// What unpacking one or more layers created.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Bytes of file content.
    pub bytes: u64,
}

impl Counts {
    /// Adds the counts of another layer.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.dirs += other.dirs;
        self.bytes += other.bytes;
    }
}
