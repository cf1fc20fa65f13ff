//! A writer of archives that does what it is told, also what no honest tar would.

/// An archive in the making.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

/// One header, to be changed before it is written.
pub struct Header {
    pub kind: u8,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub mtime: u64,
    pub size: Option<u64>,
    pub device: (u64, u64),
    pub data: Vec<u8>,
    pub gnu: bool,
    /// Bytes written over the finished header, before its checksum is taken.
    pub patch: Vec<(usize, Vec<u8>)>,
    pub break_checksum: bool,
}

impl Header {
    pub fn new(kind: u8, name: impl AsRef<[u8]>) -> Self {
        let mode = if kind == b'5' { 0o755 } else { 0o644 };
        Self {
            kind,
            name: name.as_ref().to_vec(),
            link: Vec::new(),
            mode,
            uid: 0,
            gid: 0,
            mtime: 1_700_000_000,
            size: None,
            device: (0, 0),
            data: Vec::new(),
            gnu: false,
            patch: Vec::new(),
            break_checksum: false,
        }
    }

    fn bytes(&self) -> [u8; 512] {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.uid).as_bytes());
        put(116, format!("{:07o}", self.gid).as_bytes());
        put(124, format!("{:011o}", self.size.unwrap_or(self.data.len() as u64)).as_bytes());
        put(136, format!("{:011o}", self.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, if self.gnu { b"ustar  \0" } else { b"ustar\x0000" });
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        for (at, bytes) in &self.patch {
            put(*at, bytes);
        }
        let sum: u32 =
            block.iter().map(|&byte| u32::from(byte)).sum::<u32>() + u32::from(self.break_checksum);
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

impl Tar {
    pub fn add(mut self, header: &Header) -> Self {
        self.0.extend_from_slice(&header.bytes());
        self.data(&header.data)
    }

    /// Raw data, padded.
    pub fn data(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn with(self, kind: u8, name: impl AsRef<[u8]>, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Header::new(kind, name);
        change(&mut header);
        self.add(&header)
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.with(b'5', name, |_| {})
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.with(b'0', name, |header| header.data = data.as_ref().to_vec())
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(b'2', name, |header| header.link = target.as_ref().to_vec())
    }

    pub fn hard_link(self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        self.with(b'1', name, |header| header.link = target.as_ref().to_vec())
    }

    pub fn device(self, kind: u8, name: impl AsRef<[u8]>, major: u64, minor: u64) -> Self {
        self.with(kind, name, |header| header.device = (major, minor))
    }

    /// An extended header with these records.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let data = records.iter().flat_map(|(key, value)| record(key, value)).collect::<Vec<u8>>();
        self.with(b'x', "pax", |header| header.data = data)
    }

    /// What another archive has, behind what this one has.
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// The end, as it should be.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// An archive with entries of all kinds, one in a directory that a link to `target` stands for, and whiteouts.
pub fn of_all_kinds(target: &str) -> Tar {
    Tar::default()
        .dir("d")
        .file("d/a", "abc")
        .symlink("d/l", target)
        .file("d/l/x", "")
        .hard_link("h", "d/a")
        .file("d/.wh.b", "")
        .file("d/.wh..wh..opq", "")
        .device(b'3', "c", 1, 3)
        .with(b'6', "p", |_| {})
}

/// An archive whose entries are said by extensions: PAX records, a sparse file, a long name of GNU's.
pub fn extended() -> Tar {
    let sparse =
        [("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"99")];
    Tar::default()
        .pax(&[
            ("path", b"long/../../er"),
            ("mtime", b"-1.5"),
            ("SCHILY.xattr.user.a", b"b"),
            ("uid", b"70000"),
        ])
        .file("x", "y")
        .pax(&sparse)
        .file("s", [&b"1\n5\n3\n"[..], &[0; 506], b"abc"].concat())
        .with(b'L', "L", |header| header.data = b"gnu/long\0".to_vec())
        .file("z", "z")
}

/// A PAX record, which states its own length.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length != body.len() + length.to_string().len() {
        length = body.len() + length.to_string().len();
    }
    [length.to_string().as_bytes(), &body].concat()
}
