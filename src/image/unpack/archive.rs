//! Entries of an archive: what several headers and their extensions say together about one file.
//!
//! ```text
//!  x  path=…  mtime=…   ┐
//!  L  long name         ├─ say more about the next entry, and are none themselves
//!  K  long link target  ┘
//!  0  a.txt  1234 bytes ── the entry; its data follows, padded to 512
//!  ‥
//!  two blocks of zeros  ── the end; GNU tar pads on to 10,240
//! ```
//!
//! Where readers of tar disagree, an archive can be two archives at once. The choices made here are those of Go's
//! `archive/tar`, with which the other tools that unpack images read, and where an archive is ambiguous by intent
//! (two long names that differ, a header after a block of zeros) it is refused. This is separate from
//! extraction because it makes no system call: an archive can be listed without unpacking it.

use super::header::{BLOCK, Broken, Header};
use super::pax::{self, Records};
use super::sparse::{self, Extent, Map};
use super::stream::{Short, Stream};

/// The most that one extension header may hold.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// A second name of a file that the archive has made before.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Char,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// One entry, all its extensions applied. The same value is filled again for each entry, so that its buffers
/// are allocated once.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// What it makes.
    pub kind: Kind,
    /// Its name, as in the archive.
    pub name: Vec<u8>,
    /// What it links to, for both kinds of links.
    pub link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// The bytes of data in the archive.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Where the data belongs, if the file has holes.
    pub sparse: Option<Map>,
    /// Extended attributes, by their full name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether it came with ACLs in text form, which only Schily's and GNU's tar understand.
    pub textual_acl: bool,
    /// Where its header is in the archive.
    pub offset: u64,
}

impl Entry {
    /// The size of the file once unpacked, holes included.
    #[must_use]
    pub fn real_size(&self) -> u64 {
        self.sparse.as_ref().map_or(self.size, |map| map.size)
    }
}

/// Why an archive cannot be read on.
#[derive(Debug)]
pub enum Unreadable {
    /// It says something that is not allowed or makes no sense.
    Broken(Broken),
    /// It ends too early, or its reader failed.
    Short(Short),
}

impl From<Broken> for Unreadable {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Short> for Unreadable {
    fn from(short: Short) -> Self {
        Self::Short(short)
    }
}

/// What extension headers said about the next entry.
#[derive(Debug, Clone, Default)]
struct Extensions {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    gnu_name: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    sparse_name: Option<Vec<u8>>,
    uid: Option<u64>,
    gid: Option<u64>,
    size: Option<u64>,
    mtime: Option<(i64, u32)>,
    sparse: sparse::Records,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    textual_acl: bool,
}

/// A tar archive, read entry by entry.
pub struct Archive<'a> {
    stream: Stream<'a>,
    /// What the last global header said: holds for every entry that does not say otherwise.
    global: Extensions,
    /// What is left of the current entry's data, and its padding.
    unread: u64,
    padding: u64,
    /// Reused for the data of extension headers.
    scratch: Vec<u8>,
}

impl<'a> Archive<'a> {
    /// An archive at its beginning.
    pub fn new(reader: &'a mut dyn std::io::Read) -> Self {
        Self {
            stream: Stream::new(reader),
            global: Extensions::default(),
            unread: 0,
            padding: 0,
            scratch: Vec::new(),
        }
    }

    /// How many bytes of the archive were read.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.stream.offset
    }

    /// Reads the next entry into `entry`; false at the end, after which nothing of the stream is left.
    pub fn next(&mut self, entry: &mut Entry) -> Result<bool, Unreadable> {
        let mut extensions: Option<Box<Extensions>> = None;
        entry.name.clear();
        loop {
            self.skip_data()?;
            entry.offset = self.stream.offset;
            let Some(block) = self.header_block(extensions.is_some())? else { return Ok(false) };
            let header = Header::new(&block)?;
            if header.kind() == b'V' {
                // GNU's name of the tape: about the archive, not in it.
                self.expect_data(size_of(header)?);
                continue;
            }
            if matches!(header.kind(), b'x' | b'X' | b'g' | b'L' | b'K') {
                self.read_extension(header, &mut extensions)?;
                continue;
            }
            let global = std::mem::take(&mut self.global);
            let assembled = self.assemble(header, extensions.as_deref().unwrap_or(&global), entry);
            self.global = global;
            return assembled.map(|()| true);
        }
    }

    /// The current entry's data, in pieces.
    pub fn data<E: From<Unreadable>>(
        &mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        /// An error of either side, on the way through the stream.
        enum Either<E> {
            Short(Short),
            Each(E),
        }
        impl<E> From<Short> for Either<E> {
            fn from(short: Short) -> Self {
                Self::Short(short)
            }
        }
        let count = std::mem::take(&mut self.unread);
        self.stream.pieces(count, |piece| each(piece).map_err(Either::Each)).map_err(|error| match error {
            Either::Short(short) => Unreadable::Short(short).into(),
            Either::Each(error) => error,
        })
    }

    /// Passes over what is left of the current entry.
    fn skip_data(&mut self) -> Result<(), Short> {
        self.stream.skip(std::mem::take(&mut self.unread))?;
        self.stream.skip(std::mem::take(&mut self.padding))
    }

    fn expect_data(&mut self, size: u64) {
        self.unread = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// The next block, unless the archive ends here.
    fn header_block(&mut self, extended: bool) -> Result<Option<[u8; BLOCK]>, Unreadable> {
        let block = match self.stream.block::<BLOCK>() {
            Ok(block) => block,
            // Some writers leave the blocks of zeros out; all entries are there, so nothing is lost.
            Err(Short::End(0)) if !extended => return Ok(None),
            Err(short) => return Err(short.into()),
        };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        if extended {
            return Err("it ends after an extension header, without the entry that this belongs to".into());
        }
        match self.stream.block::<BLOCK>() {
            Ok(second) if second == [0; BLOCK] => {}
            Ok(_) => {
                return Err(
                    "a header follows a single block of zeros, which some readers take for the end".into()
                );
            }
            Err(Short::End(0)) => return Ok(None),
            Err(short) => return Err(short.into()),
        }
        self.stream.drain().map_err(Short::Failed)?;
        Ok(None)
    }

    /// Reads an extension header: more about the next entry, or about all that follow.
    fn read_extension(
        &mut self,
        header: Header,
        extensions: &mut Option<Box<Extensions>>,
    ) -> Result<(), Unreadable> {
        let size = size_of(header)?;
        if size > LONGEST_EXTENSION {
            return Err("an extension header of it is longer than 1 MiB".into());
        }
        self.scratch.clear();
        let scratch = &mut self.scratch;
        self.stream.pieces::<Short>(size, |piece| {
            scratch.extend_from_slice(piece);
            Ok(())
        })?;
        self.expect_data(size);
        self.unread = 0;
        if header.kind() == b'g' {
            return Ok(self.global.take_global(&self.scratch)?);
        }
        let extensions = extensions.get_or_insert_with(|| Box::new(self.global.clone()));
        match header.kind() {
            b'L' => extensions.gnu_name = Some(gnu_string(&self.scratch)?),
            b'K' => extensions.gnu_link = Some(gnu_string(&self.scratch)?),
            _ => extensions.take_records(&self.scratch)?,
        }
        Ok(())
    }

    /// Fills `entry` from its header and what extensions said before.
    fn assemble(
        &mut self,
        header: Header,
        extensions: &Extensions,
        entry: &mut Entry,
    ) -> Result<(), Unreadable> {
        entry.sparse = None;
        name_of(header, extensions, &mut entry.name)?;
        entry.link.clear();
        match one_of(extensions.link.as_deref(), extensions.gnu_link.as_deref())? {
            Some(link) => entry.link.extend_from_slice(link),
            None => entry.link.extend_from_slice(header.link()),
        }
        entry.kind = kind_of(header.kind(), &entry.name)?;
        entry.mode = header.mode()?;
        entry.uid = id(extensions.uid, || header.uid())?;
        entry.gid = id(extensions.gid, || header.gid())?;
        entry.mtime = match extensions.mtime {
            Some(mtime) => mtime,
            None => (header.mtime()?, 0),
        };
        entry.device = device_of(header, entry.kind)?;
        entry.xattrs.clone_from(&extensions.xattrs);
        entry.textual_acl = extensions.textual_acl;
        let size = match extensions.size {
            Some(size) => size,
            None => size_of(header)?,
        };
        self.assemble_data(header, extensions, size, entry)
    }

    /// How much data follows, and where it belongs.
    fn assemble_data(
        &mut self,
        header: Header,
        extensions: &Extensions,
        size: u64,
        entry: &mut Entry,
    ) -> Result<(), Unreadable> {
        // Some writers state the size of what a link points to: only files, and GNU's directory lists, have data.
        let has_data = entry.kind == Kind::File || header.kind() == b'D';
        self.expect_data(if has_data { size } else { 0 });
        entry.size = if entry.kind == Kind::File { size } else { 0 };
        if entry.kind == Kind::File && header.kind() == b'S' {
            let map = self.old_gnu_map(header)?;
            entry.sparse = Some(map.checked(size)?);
        } else if entry.kind == Kind::File && extensions.sparse.any() {
            let map = self.pax_map(&extensions.sparse, entry)?;
            entry.sparse = Some(map.checked(entry.size)?);
        }
        Ok(())
    }

    /// The map of type `S`: in the header, and in blocks between it and the data that no size counts.
    fn old_gnu_map(&mut self, header: Header) -> Result<Map, Unreadable> {
        if !header.is_gnu() {
            return Err("it is sparse in GNU's old form, in a header that is not GNU's".into());
        }
        let (fields, mut more, size) = header.gnu_sparse();
        let mut extents: Vec<Extent> = Vec::new();
        sparse::gnu_extents(fields, &mut extents)?;
        while more {
            let block = self.stream.block::<BLOCK>()?;
            let before = extents.len();
            sparse::gnu_extents(&block[..21 * 24], &mut extents)?;
            if extents.len() == before {
                return Err("its sparse map continues without extents".into());
            }
            more = block[21 * 24] != 0;
        }
        let size = u64::try_from(size?).map_err(|_| "its real size as a sparse file is negative")?;
        Ok(Map { extents, size })
    }

    /// The map of the PAX forms; that of 1.0 is the beginning of the data: a number on each line, padded to a block.
    fn pax_map(&mut self, records: &sparse::Records, entry: &mut Entry) -> Result<Map, Unreadable> {
        if !records.map_is_in_data()? {
            return Ok(records.map(&records.numbers)?);
        }
        let mut line: Vec<u8> = Vec::new();
        let mut numbers: Vec<u64> = Vec::new();
        let mut expected = None;
        while expected.is_none_or(|count| (numbers.len() as u64) < count) {
            if self.unread < BLOCK as u64 {
                return Err("its sparse map is longer than its data".into());
            }
            let block = self.stream.block::<BLOCK>()?;
            self.unread -= BLOCK as u64;
            for &byte in &block {
                if byte != b'\n' {
                    line.push(byte);
                    if line.len() > 20 {
                        return Err("its sparse map is not made of numbers".into());
                    }
                    continue;
                }
                let number = pax::decimal(&line).ok_or("its sparse map is not made of numbers")?;
                line.clear();
                match expected {
                    None if number > sparse::MOST_EXTENTS as u64 => {
                        return Err("its sparse map is longer than 65,536 extents".into());
                    }
                    None => expected = Some(number * 2),
                    Some(_) => numbers.push(number),
                }
                if expected.is_some_and(|count| numbers.len() as u64 >= count) {
                    line.clear();
                    break;
                }
            }
        }
        entry.size = self.unread;
        Ok(records.map(&numbers)?)
    }
}

impl Extensions {
    /// Records about the next entry.
    fn take_records(&mut self, data: &[u8]) -> Result<(), Broken> {
        for record in Records::new(data) {
            let (key, value) = record?;
            self.take(key, value)?;
        }
        Ok(())
    }

    /// Records about all entries that follow. Only owners and times make sense there; git writes a comment.
    fn take_global(&mut self, data: &[u8]) -> Result<(), Broken> {
        for record in Records::new(data) {
            let (key, value) = record?;
            match key {
                b"uid" | b"gid" | b"mtime" => self.take(key, value)?,
                b"path" | b"linkpath" | b"size" => {
                    return Err("a global header would give every entry the same name, target or size");
                }
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err("a global header would make every entry sparse");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// One record; an empty value withdraws what was said before.
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        let number = || match value {
            b"" => Ok(None),
            digits => pax::decimal(digits).map(Some).ok_or("a number in its PAX header is none"),
        };
        match key {
            b"path" => self.name = text(value)?,
            b"linkpath" => self.link = text(value)?,
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(pax::time(value).ok_or("the time in its PAX header is none")?),
            b"GNU.sparse.name" => self.sparse_name = text(value)?,
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => self.textual_acl = true,
            _ => self.take_other(key, value)?,
        }
        Ok(())
    }

    /// Records whose key has a part of its own.
    fn take_other(&mut self, key: &[u8], value: &[u8]) -> Result<(), Broken> {
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.take(key, value);
        }
        let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            (name.to_vec(), value.to_vec())
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let name = pax::percent_decoded(name).ok_or("the name of an extended attribute is malformed")?;
            (name, pax::base64_decoded(value).ok_or("the value of an extended attribute is not base64")?)
        } else {
            return Ok(());
        };
        if name.is_empty() || name.contains(&0) {
            return Err("the name of an extended attribute is malformed");
        }
        // libarchive writes each attribute in both forms: the same twice is one.
        self.xattrs.retain(|(known, _)| *known != name);
        self.xattrs.push((name, value));
        Ok(())
    }
}

/// A name from a PAX record. The kernel ends names at NUL, and so would show another name than was checked.
fn text(value: &[u8]) -> Result<Option<Vec<u8>>, Broken> {
    match value {
        b"" => Ok(None),
        _ if value.contains(&0) => Err("a name in its PAX header contains a NUL byte"),
        _ => Ok(Some(value.to_vec())),
    }
}

/// The data of an `L` or `K` entry: a string of C.
fn gnu_string(data: &[u8]) -> Result<Vec<u8>, Broken> {
    let length = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    let (name, rest) = data.split_at(length);
    if rest.iter().any(|&byte| byte != 0) {
        return Err("a long name of it contains a NUL byte");
    }
    Ok(name.to_vec())
}

/// The one of two names that is there; both only if they agree.
fn one_of<'a>(pax: Option<&'a [u8]>, gnu: Option<&'a [u8]>) -> Result<Option<&'a [u8]>, Broken> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => Err(
            "its PAX header and its GNU header give different names, and readers differ in whom they believe",
        ),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn name_of(header: Header, extensions: &Extensions, name: &mut Vec<u8>) -> Result<(), Broken> {
    name.clear();
    let long = one_of(extensions.name.as_deref(), extensions.gnu_name.as_deref())?;
    // Sparse files of GNU's PAX forms have a placeholder as their name, and the real one in a record.
    match extensions.sparse_name.as_deref().or(long) {
        Some(long) => name.extend_from_slice(long),
        None => header.append_name(name),
    }
    Ok(())
}

/// What an entry makes, by the letter in its header.
fn kind_of(letter: u8, name: &[u8]) -> Result<Kind, Broken> {
    Ok(match letter {
        // The first tar had no letter for directories, only a slash at the end.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::Char,
        b'4' => Kind::Block,
        b'5' | b'D' => Kind::Directory,
        b'6' => Kind::Fifo,
        b'M' => return Err("it continues a file of another volume"),
        _ => return Err("its type is unknown, so what it makes is as well"),
    })
}

/// A user or group id. The highest means "unchanged" to chown(2), so nothing can belong to it.
fn id(pax: Option<u64>, header: impl FnOnce() -> Result<i64, Broken>) -> Result<u32, Broken> {
    let id = match pax {
        Some(id) => u32::try_from(id).ok(),
        None => u32::try_from(header()?).ok(),
    };
    id.filter(|&id| id != u32::MAX).ok_or("its owner or group is out of range")
}

fn size_of(header: Header) -> Result<u64, Broken> {
    u64::try_from(header.size()?).map_err(|_| "the size in the header is negative")
}

fn device_of(header: Header, kind: Kind) -> Result<(u32, u32), Broken> {
    if !matches!(kind, Kind::Char | Kind::Block) {
        return Ok((0, 0));
    }
    let half = |number| u32::try_from(number).map_err(|_| "its device number is out of range");
    let (major, minor) = header.device()?;
    Ok((half(major)?, half(minor)?))
}
