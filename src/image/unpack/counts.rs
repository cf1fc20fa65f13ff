//! What unpacking made, left out and could not keep: numbers measured while it happened, for the one line that the
//! narrator prints instead of thousands.
//!
//! Nothing is dropped in silence: every kind of loss has a count of its own and a few examples by name.

use crate::sys::tree::Tally;

/// How many examples of a kind are kept by name.
const EXAMPLES: usize = 3;

/// Something that was left out or changed, how often, and the first names it happened to.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Noted {
    /// How often.
    pub count: u64,
    /// The first few names, odd bytes escaped.
    pub examples: Vec<String>,
}

impl Noted {
    /// Notes that it happened to `name`.
    pub fn note(&mut self, name: &[u8]) {
        self.count += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(super::names::shown(name));
        }
    }

    /// Adds what was noted elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.count += other.count;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.iter().take(room).cloned());
    }
}

/// Declares [`Counts`] with its sum: plain numbers first, then what is noted with examples.
macro_rules! counts {
    (numbers { $($(#[$of_number:meta])* $number:ident),* $(,)? } noted { $($(#[$of_noted:meta])* $noted:ident),* $(,)? }) => {
        /// What unpacking one layer (or, added up, several) did.
        #[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(default)]
        pub struct Counts {
            $($(#[$of_number])* pub $number: u64,)*
            $($(#[$of_noted])* pub $noted: Noted,)*
            /// The system calls it took.
            pub tally: Tally,
        }

        impl Counts {
            /// Adds the counts of another layer.
            pub fn add(&mut self, other: &Self) {
                $(self.$number += other.$number;)*
                $(self.$noted.add(&other.$noted);)*
                self.tally.add(&other.tally);
            }

            /// What was made, by name.
            pub fn kinds(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($number), self.$number)),*].into_iter()
            }

            /// What was left out or could not be kept, with examples, by name.
            pub fn noted(&self) -> impl Iterator<Item = (&'static str, &Noted)> {
                [$((stringify!($noted), &self.$noted)),*].into_iter().filter(|(_, noted)| noted.count > 0)
            }
        }
    };
}

counts! {
    numbers {
        /// Entries of the archive, whatever became of them.
        entries,
        /// Regular files made.
        files,
        /// Directories that the archive lists.
        directories,
        /// Directories that it does not list, but puts something into.
        implicit_directories,
        /// Symbolic links made.
        symlinks,
        /// Second names made for files of the same layer.
        hard_links,
        /// Device nodes made, whiteouts not among them.
        devices,
        /// Named pipes made.
        fifos,
        /// Whiteouts made: names of lower layers that are gone.
        whiteouts,
        /// Directories made opaque: nothing of the lower layers shows in them.
        opaque,
        /// Names that the same archive used again, so that the later entry replaced the earlier.
        replaced,
        /// Bytes of file data, without holes.
        bytes,
        /// Bytes read of the archive, all of it.
        archive_bytes,
    }
    noted {
        /// Names with `..`, which were resolved inside the image.
        dotdot_names,
        /// Whiteouts that hide nothing, because their directory is opaque or the layer is the lowest.
        moot_whiteouts,
        /// Files of AUFS (`.wh..wh.plnk` and such), which mean nothing to overlayfs.
        aufs_files,
        /// Character devices 0:0: overlayfs would take them for whiteouts that the image format does not have.
        forged_whiteouts,
        /// Attributes of overlayfs itself, which would act as whiteouts or redirects.
        forged_xattrs,
        /// Owners that were not kept.
        not_kept_owners,
        /// Setuid and setgid bits that were not kept, because the owner they act for was not.
        not_kept_setids,
        /// Names of device nodes that were not made, hard links to them among them.
        not_kept_devices,
        /// Extended attributes that were not kept.
        not_kept_xattrs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_keep_three_examples() {
        let mut counts = Counts { files: 2, ..Counts::default() };
        counts.not_kept_owners.note(b"a\xff");
        let mut other = Counts { files: 3, ..Counts::default() };
        for name in [b"b", b"c", b"d"] {
            other.not_kept_owners.note(name);
        }
        counts.add(&other);
        assert_eq!((counts.files, counts.not_kept_owners.count), (5, 4));
        assert_eq!(counts.not_kept_owners.examples, ["a\\xff", "b", "c"]);
        let json = serde_json::to_string(&counts).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&json).unwrap(), counts);
    }
}
