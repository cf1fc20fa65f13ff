//! Sparse files: where the data of an entry belongs, when the archive left its holes out.
//!
//! GNU tar has written this in four ways: extents in the header itself (type `S`, with more blocks of them if
//! need be), and three that hide in PAX records, called 0.0, 0.1 and 1.0, of which the last keeps its map in front
//! of the data. All of them become one [`Map`]. A map is a claim: holes cost no space when they are left holes,
//! so a claim of exabytes is never written out, but its extents must be in order, apart, and within the file.

use super::header::{self, Broken};
use super::pax::decimal;

/// The longest map: more extents than any file system makes of one file by habit, 1 MiB in memory.
pub const MOST_EXTENTS: usize = 65_536;

/// One piece of data of a sparse file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Where it begins in the file.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// A sparse file's extents and its size with holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map {
    /// In ascending order, none overlapping.
    pub extents: Vec<Extent>,
    /// The size of the file once unpacked.
    pub size: u64,
}

impl Map {
    /// Checks a map against the amount of data that the archive holds for it.
    pub fn checked(self, data: u64) -> Result<Self, Broken> {
        let (mut position, mut total) = (0_u64, 0_u64);
        for extent in &self.extents {
            let end = extent.offset.checked_add(extent.length).ok_or("its sparse map overflows")?;
            if extent.offset < position || end > self.size {
                return Err("the extents of its sparse map overlap or leave the file");
            }
            position = end;
            total += extent.length;
        }
        if total != data || self.size > i64::MAX.cast_unsigned() {
            return Err("its sparse map does not match the amount of its data");
        }
        Ok(self)
    }
}

/// What the PAX records of a sparse file say, until its header has been read.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// `GNU.sparse.major` and `minor`: 1.0 if both are there.
    pub major: Option<u64>,
    /// See `major`.
    pub minor: Option<u64>,
    /// `GNU.sparse.size` (0.x) or `GNU.sparse.realsize` (1.0).
    pub size: Option<u64>,
    /// `GNU.sparse.offset` and `numbytes`, alternating (0.0), or `GNU.sparse.map` (0.1).
    pub numbers: Vec<u64>,
}

impl Records {
    /// Takes one `GNU.sparse.` record, its key without that prefix.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        let number = || decimal(value).ok_or("a record of its sparse map is not a number");
        match key {
            b"major" => self.major = Some(number()?),
            b"minor" => self.minor = Some(number()?),
            b"size" | b"realsize" => self.size = Some(number()?),
            b"numblocks" => {
                number()?;
            }
            b"offset" if self.numbers.len().is_multiple_of(2) => self.push(number()?)?,
            b"numbytes" if !self.numbers.len().is_multiple_of(2) => self.push(number()?)?,
            b"map" => {
                self.numbers.clear();
                for part in value.split(|&byte| byte == b',').filter(|_| !value.is_empty()) {
                    self.push(decimal(part).ok_or("a record of its sparse map is not a number")?)?;
                }
            }
            b"offset" | b"numbytes" => return Err("the records of its sparse map are out of order"),
            _ => return Err("a record of its sparse map is unknown"),
        }
        Ok(())
    }

    fn push(&mut self, number: u64) -> Result<(), Broken> {
        if self.numbers.len() >= 2 * MOST_EXTENTS {
            return Err("its sparse map is longer than 65,536 extents");
        }
        self.numbers.push(number);
        Ok(())
    }

    /// Whether the records speak of a sparse file at all.
    pub fn any(&self) -> bool {
        self.major.is_some() || self.minor.is_some() || self.size.is_some() || !self.numbers.is_empty()
    }

    /// Whether the map is in front of the data; an error for a version that does not exist.
    pub fn map_is_in_data(&self) -> Result<bool, Broken> {
        match (self.major.unwrap_or(0), self.minor.unwrap_or(0)) {
            (0, _) => Ok(false),
            (1, 0) => Ok(true),
            _ => Err("its sparse format is newer than 1.0"),
        }
    }

    /// The map, from these numbers or those read in front of the data.
    pub fn map(&self, numbers: &[u64]) -> Result<Map, Broken> {
        let size = self.size.ok_or("its real size as a sparse file is missing")?;
        if !numbers.len().is_multiple_of(2) {
            return Err("its sparse map ends in the middle of an extent");
        }
        let extents = numbers.chunks_exact(2).map(|pair| Extent { offset: pair[0], length: pair[1] });
        Ok(Map { extents: extents.collect(), size })
    }
}

/// Extents of the old GNU format: pairs of twelve-byte numbers, ended by one whose offset is empty.
pub fn gnu_extents(fields: &[u8], extents: &mut Vec<Extent>) -> Result<(), Broken> {
    for pair in fields.chunks_exact(24) {
        if pair[0] == 0 {
            break;
        }
        let number = |field| {
            let number = header::number(field).map_err(|()| "its sparse map is not made of numbers")?;
            u64::try_from(number).map_err(|_| "its sparse map has a negative number")
        };
        if extents.len() >= MOST_EXTENTS {
            return Err("its sparse map is longer than 65,536 extents");
        }
        extents.push(Extent { offset: number(&pair[..12])?, length: number(&pair[12..])? });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(u64, u64)], size: u64) -> Map {
        Map { extents: pairs.iter().map(|&(offset, length)| Extent { offset, length }).collect(), size }
    }

    #[test]
    fn maps_are_in_order_and_within_the_file() {
        assert!(map(&[(0, 5), (10, 5)], 20).checked(10).is_ok());
        assert!(map(&[(20, 0)], 20).checked(0).is_ok());
        assert!(map(&[(10, 5), (0, 5)], 20).checked(10).is_err());
        assert!(map(&[(0, 6), (5, 5)], 20).checked(11).is_err());
        assert!(map(&[(16, 5)], 20).checked(5).is_err());
        assert!(map(&[(u64::MAX, 5)], 20).checked(5).is_err());
        assert!(map(&[(0, 5)], 20).checked(6).is_err());
        assert!(map(&[], u64::MAX).checked(0).is_err());
    }

    #[test]
    fn records_of_the_three_pax_formats() {
        let mut records = Records::default();
        for (key, value) in [("size", "20"), ("numblocks", "1"), ("offset", "3"), ("numbytes", "4")] {
            records.take(key.as_bytes(), value.as_bytes()).unwrap();
        }
        assert_eq!(records.map(&records.numbers).unwrap(), map(&[(3, 4)], 20));
        assert!(records.take(b"numbytes", b"1").is_err());

        let mut records = Records::default();
        records.take(b"size", b"20").unwrap();
        records.take(b"map", b"1,2,3,4").unwrap();
        assert_eq!(records.map(&records.numbers).unwrap(), map(&[(1, 2), (3, 4)], 20));
        assert!(records.take(b"map", b"1,,3").is_err());

        let mut records = Records::default();
        records.take(b"major", b"1").unwrap();
        assert_eq!(records.map_is_in_data(), Ok(true));
        records.take(b"minor", b"1").unwrap();
        assert!(records.map_is_in_data().is_err());
        assert!(records.take(b"nonsense", b"1").is_err());
    }
}
