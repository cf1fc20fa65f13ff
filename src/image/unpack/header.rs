//! One tar header: 512 bytes, as four generations of tar have filled them.
//!
//! ```text
//!   0 name 100 │ 100 mode 8 │ 108 uid 8 │ 116 gid 8 │ 124 size 12 │ 136 mtime 12 │ 148 checksum 8 │ 156 type 1
//! 157 linkname 100 │ 257 magic 6 │ 263 version 2 │ 265 uname 32 │ 297 gname 32 │ 329 devmajor 8 │ 337 devminor 8
//! 345 prefix 155 │ 500 nothing 12
//! ```
//!
//! `magic` tells the generation: `ustar\0` POSIX (where `prefix` goes before the name), `ustar  ` GNU (which keeps
//! other things in `prefix`), anything else the first tar of 1979, which had neither. This is separate from the
//! archive because a header says nothing of its neighbours: everything here is a function of one block.

/// The size of a header, and what everything in an archive is padded to.
pub const BLOCK: usize = 512;

/// A block that holds a header whose checksum is right.
#[derive(Clone, Copy)]
pub struct Header<'a>(&'a [u8; BLOCK]);

/// Why a block is no header, or a field no value: a clause for an error.
pub type Broken = &'static str;

impl<'a> Header<'a> {
    /// Checks the checksum: the sum of all bytes, those of the checksum itself taken as blanks.
    pub fn new(block: &'a [u8; BLOCK]) -> Result<Self, Broken> {
        let header = Self(block);
        let stated =
            number(header.field(148, 8)).map_err(|()| "the checksum of the header is not a number")?;
        let blanks = 8 * i64::from(b' ');
        let outside = || block[..148].iter().chain(&block[156..]);
        let unsigned: i64 = outside().map(|&byte| i64::from(byte)).sum();
        // Some early tars summed signed characters; both are told apart by nothing but trying.
        let signed = || outside().map(|&byte| i64::from(byte.cast_signed())).sum::<i64>();
        if stated == unsigned + blanks || stated == signed() + blanks {
            Ok(header)
        } else {
            Err("the checksum of the header is wrong")
        }
    }

    fn field(self, start: usize, length: usize) -> &'a [u8] {
        &self.0[start..start + length]
    }

    /// The letter that says what the entry is.
    pub fn kind(self) -> u8 {
        self.0[156]
    }

    /// Appends the name: `prefix/name` in POSIX' form.
    pub fn append_name(self, name: &mut Vec<u8>) {
        // Schily's star signs at the end and keeps two times in the last bytes of the prefix.
        let prefix = match (self.is_posix(), self.field(508, 4) == b"tar\0") {
            (true, false) => until_nul(self.field(345, 155)),
            (true, true) => until_nul(self.field(345, 131)),
            (false, _) => b"",
        };
        if !prefix.is_empty() {
            name.extend_from_slice(prefix);
            name.push(b'/');
        }
        name.extend_from_slice(until_nul(self.field(0, 100)));
    }

    /// What a link points to.
    pub fn link(self) -> &'a [u8] {
        until_nul(self.field(157, 100))
    }

    /// Permission bits with setuid, setgid and sticky; some tars add the file type, which `type` says already.
    pub fn mode(self) -> Result<u32, Broken> {
        let mode = number(self.field(100, 8)).map_err(|()| "the mode in the header is not a number")?;
        u32::try_from(mode & 0o7777).map_err(|_| "the mode in the header is not a number")
    }

    /// The owning user.
    pub fn uid(self) -> Result<i64, Broken> {
        number(self.field(108, 8)).map_err(|()| "the user id in the header is not a number")
    }

    /// The owning group.
    pub fn gid(self) -> Result<i64, Broken> {
        number(self.field(116, 8)).map_err(|()| "the group id in the header is not a number")
    }

    /// How many bytes of data follow.
    pub fn size(self) -> Result<i64, Broken> {
        number(self.field(124, 12)).map_err(|()| "the size in the header is not a number")
    }

    /// Seconds since 1970.
    pub fn mtime(self) -> Result<i64, Broken> {
        number(self.field(136, 12)).map_err(|()| "the time in the header is not a number")
    }

    /// Major and minor number of a device.
    pub fn device(self) -> Result<(i64, i64), Broken> {
        let half = |start| {
            number(self.field(start, 8)).map_err(|()| "the device number in the header is not a number")
        };
        if self.is_posix() || self.is_gnu() { Ok((half(329)?, half(337)?)) } else { Ok((0, 0)) }
    }

    /// The old GNU sparse map in a header: four extents, whether more blocks of them follow, and the real size.
    pub fn gnu_sparse(self) -> (&'a [u8], bool, Result<i64, Broken>) {
        let size =
            number(self.field(483, 12)).map_err(|()| "the real size of the sparse file is not a number");
        (self.field(386, 4 * 24), self.0[482] != 0, size)
    }

    fn is_posix(self) -> bool {
        self.field(257, 6) == b"ustar\0"
    }

    /// Whether GNU's fields may be in the place of the prefix.
    pub fn is_gnu(self) -> bool {
        self.field(257, 8) == b"ustar  \0"
    }
}

/// The bytes before the first NUL: how C keeps a string in a field.
fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal digits between blanks, ended by a blank or NUL; or, with the highest bit of the
/// first byte set, GNU's base 256: big-endian, two's complement, of which the bit itself is no part.
pub fn number(field: &[u8]) -> Result<i64, ()> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64, ()> {
    let digits = until_nul(field).trim_ascii();
    digits.iter().try_fold(0_i64, |value, &digit| match digit {
        b'0'..=b'7' => {
            value.checked_mul(8).and_then(|value| value.checked_add(i64::from(digit - b'0'))).ok_or(())
        }
        _ => Err(()),
    })
}

fn base256(field: &[u8]) -> Result<i64, ()> {
    // 0x80 begins a positive number, 0xff a negative one, of which all leading bits are then set.
    let negative = field[0] & 0x40 != 0;
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let start = i128::from(if negative { i64::from(first.cast_signed()) } else { i64::from(first) });
    let value = field[1..].iter().try_fold(start, |value, &byte| {
        let value = value * 256 + i128::from(byte);
        i64::try_from(value).map(i128::from).map_err(|_| ())
    })?;
    i64::try_from(value).map_err(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_in_all_their_paddings() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"   644 \0"), Ok(0o644));
        assert_eq!(number(b"00000000010 "), Ok(8));
        assert_eq!(number(b"77777777777\0"), Ok(0o77_777_777_777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Ok(0));
        assert_eq!(number(b"0000648\0"), Err(()));
        assert_eq!(number(b"-000001\0"), Err(()));
        assert_eq!(number(b"+000001\0"), Err(()));
        assert_eq!(number(b"00 0001\0"), Err(()));
    }

    #[test]
    fn base_256_numbers_to_both_ends_of_their_range() {
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Ok(256));
        assert_eq!(number(&[0xff; 12]), Ok(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 0x7f, 255, 255, 255, 255, 255, 255, 255]), Ok(i64::MAX));
        assert_eq!(number(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), Err(()));
        assert_eq!(number(&[0xff, 255, 255, 255, 0x80, 0, 0, 0, 0, 0, 0, 0]), Ok(i64::MIN));
    }

    #[test]
    fn a_checksum_must_be_right() {
        let mut block = [0_u8; BLOCK];
        block[0] = b'x';
        assert!(Header::new(&block).is_err());
        block[148..156].copy_from_slice(format!("{:06o}\0 ", u32::from(b'x') + 256).as_bytes());
        assert!(Header::new(&block).is_ok());
        block[1] = b'y';
        assert!(Header::new(&block).is_err());
    }
}
