//! Files in words: modes, kinds, names, times.

use crate::image::listing::Mark;
use crate::image::unpack::list::{Inode, What};
use crate::image::unpack::shown_whole as shown;

/// The letter of `ls -l` for a kind.
pub fn letter(what: What) -> char {
    match what {
        What::File => '-',
        What::Directory => 'd',
        What::Symlink => 'l',
        What::Char => 'c',
        What::Block => 'b',
        What::Fifo => 'p',
        What::Whiteout => 'w',
    }
}

/// A kind in words.
pub fn kind(what: What) -> &'static str {
    match what {
        What::File => "file",
        What::Directory => "directory",
        What::Symlink => "symbolic link",
        What::Char => "character device",
        What::Block => "block device",
        What::Fifo => "named pipe",
        What::Whiteout => "whiteout",
    }
}

/// Kind and permissions as `ls -l` has them: `-rwsr-xr-x`.
pub fn mode(inode: &Inode) -> String {
    let mut text = String::with_capacity(10);
    text.push(letter(inode.what));
    if inode.what == What::Whiteout {
        return text + "---------";
    }
    for (at, special) in [(6, (0o4000, 's', 'S')), (3, (0o2000, 's', 'S')), (0, (0o1000, 't', 'T'))] {
        let bits = inode.mode >> at;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        let (bit, with, without) = special;
        text.push(match (inode.mode & bit != 0, bits & 1 != 0) {
            (true, true) => with,
            (true, false) => without,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// What a name shows behind itself: a slash, where a link points, a device's numbers.
pub fn tail(inode: &Inode) -> String {
    match inode.what {
        What::Directory => "/".to_owned(),
        What::Symlink => format!(" -> {}", shown(&inode.link)),
        What::Char | What::Block => format!(" ({}:{})", inode.device.0, inode.device.1),
        _ => String::new(),
    }
}

/// The letter of a mark, as `docker diff` has the first three.
pub fn sign(mark: Mark, inode: &Inode) -> char {
    match mark {
        _ if inode.opaque => 'O',
        Mark::Added => 'A',
        Mark::Changed => 'C',
        Mark::Attributes => 'M',
        Mark::Same => '=',
        Mark::Replaced => 'R',
        Mark::Deleted | Mark::Moot => 'D',
        Mark::Passed => '.',
    }
}

/// What the letters mean.
pub const LEGEND: [&str; 2] = [
    "A added    C changed    M owner, mode, time or attributes only    = the same",
    "R another kind    D deleted (whiteout)    O opaque: hides all below    . passed",
];

/// A mark in words.
pub fn verb(mark: Mark) -> &'static str {
    match mark {
        Mark::Added => "added",
        Mark::Changed => "changed",
        Mark::Attributes => "attributes",
        Mark::Same => "the same again",
        Mark::Replaced => "replaced",
        Mark::Deleted => "deleted",
        Mark::Moot => "deletes nothing",
        Mark::Passed => "passed through",
    }
}

/// Seconds since 1970 as a date and time: `2026-01-01 00:00:00`, in UTC.
pub fn time(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The civil calendar from days, counted in years that begin in March (Hinnant, "chrono-Compatible Low-Level
    // Date Algorithms").
    let shifted = i128::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i128::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_read_as_in_ls() {
        let of = |what, mode_bits| mode(&Inode { what, mode: mode_bits, ..Inode::default() });
        assert_eq!(of(What::File, 0o4755), "-rwsr-xr-x");
        assert_eq!(of(What::File, 0o2640), "-rw-r-S---");
        assert_eq!(of(What::Directory, 0o1777), "drwxrwxrwt");
    }

    #[test]
    fn times_are_dates() {
        assert_eq!(time(0), "1970-01-01 00:00:00");
        assert_eq!(time(1_767_225_600), "2026-01-01 00:00:00");
        assert_eq!(time(951_782_399), "2000-02-28 23:59:59");
        assert_eq!(time(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(time(-1), "1969-12-31 23:59:59");
    }
}
