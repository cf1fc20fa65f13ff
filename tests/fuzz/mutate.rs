//! Changes to inputs: small damage, large pieces moved about, and words that the readers look for.

/// A small generator of numbers, so that a run can be repeated from its seed (Knuth's constants for a linear
/// congruential one).
#[derive(Clone)]
pub struct Seed(pub u64);

impl Seed {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// The largest input that is worth its time.
const LARGEST: usize = 64 << 10;

/// Words that mean something to one reader or another.
const WORDS: [&[u8]; 36] = [
    b".wh.",
    b".wh..wh..opq",
    b".wh..wh.aufs",
    b"../",
    b"..",
    b"/",
    b".",
    b"\0",
    b"ustar",
    b"ustar  \0",
    b"path=",
    b"size=",
    b"linkpath=",
    b"GNU.sparse.major=1\n",
    b"GNU.sparse.realsize=99\n",
    b"SCHILY.xattr.user.a=b\n",
    b"SCHILY.xattr.trusted.overlay.opaque=y\n",
    b"mtime=-1.5\n",
    b"99999999999",
    b"77777777777",
    b"-1",
    b"null",
    b"[]",
    b"{}",
    b"\"\"",
    b"1e999",
    b"18446744073709551616",
    b"sha256:",
    b"sha512:",
    b"\\u0000",
    b"\xff\xfe",
    b"application/vnd.oci.image.index.v1+json",
    b"mediaType",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"schemaVersion",
];

/// Numbers of a header that are seldom right.
const ODD: [&[u8]; 10] = [
    b"0",
    b"7777777",
    b"00000000000",
    b"77777777777",
    b"\x80\0\0\0\0\0\0\0\0\0\0\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    b"        ",
    b"-1",
    b"00000000777",
];

/// A new input from one that there is; `other` is another one to take pieces from.
pub fn mutate(seed: &mut Seed, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=seed.below(4) {
        change(seed, &mut bytes, other);
    }
    bytes.truncate(LARGEST);
    // Most damage should get past the checksums, or nothing else is ever reached.
    if seed.below(10) > 0 {
        repair(&mut bytes);
    }
    bytes
}

fn change(seed: &mut Seed, bytes: &mut Vec<u8>, other: &[u8]) {
    if bytes.is_empty() {
        bytes.extend_from_slice(other);
        return;
    }
    let at = seed.below(bytes.len());
    match seed.below(12) {
        0 => bytes[at] ^= 1 << seed.below(8),
        1 => bytes[at] = u8::try_from(seed.below(256)).unwrap_or(0),
        2 => bytes[at] = *seed.one_of(b"0123456789/.lLKxgS1257"),
        3 => bytes[at] = *seed.one_of(&bytes.clone()),
        4 => {
            let word = *seed.one_of(&WORDS);
            let end = (at + word.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&word[..end - at]);
        }
        5 => {
            let word = *seed.one_of(&WORDS);
            bytes.splice(at..at, word.iter().copied());
        }
        6 => {
            let end = (at + 1 + seed.below(32)).min(bytes.len());
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + 1 + seed.below(64)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = seed.below(bytes.len());
            bytes.splice(to..to, piece);
        }
        8 => bytes.truncate(at),
        9 if !other.is_empty() => {
            let from = seed.below(other.len());
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => blocks(seed, bytes, other),
    }
}

/// Changes to an archive's blocks: one removed, repeated, moved, or taken from another archive, or a number of its header
/// set to an odd one.
fn blocks(seed: &mut Seed, bytes: &mut Vec<u8>, other: &[u8]) {
    let count = bytes.len() / 512;
    if count == 0 {
        return;
    }
    let start = seed.below(count) * 512;
    match seed.below(4) {
        0 => drop(bytes.drain(start..start + 512)),
        1 => {
            let block = bytes[start..start + 512].to_vec();
            let to = seed.below(count + 1) * 512;
            bytes.splice(to..to, block);
        }
        2 if other.len() >= 512 => {
            let from = seed.below(other.len() / 512) * 512;
            bytes.splice(start..start, other[from..from + 512].iter().copied());
        }
        _ => {
            // Mode, owner, group, size, time, major, minor.
            let (at, length) =
                *seed.one_of(&[(100, 8), (108, 8), (116, 8), (124, 12), (136, 12), (329, 8), (337, 8)]);
            let odd = *seed.one_of(&ODD);
            let length = odd.len().min(length);
            bytes[start + at..start + at + length].copy_from_slice(&odd[..length]);
        }
    }
}

/// Sets the checksum of each header right again.
fn repair(archive: &mut [u8]) {
    for block in archive.chunks_exact_mut(512).filter(|block| block[257..262] == *b"ustar") {
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
