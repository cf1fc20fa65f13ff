//! Compression: which one a stream has, and taking it off.
//!
//! Separate because three places need it: the layers, archives that are compressed as a whole, and the writer of
//! the demo image.

use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// zstd, RFC 8878.
    Zstd,
}

/// The largest zstd window that is accepted, as a power of two: what `zstd` itself accepts without being asked.
/// The stream chooses its window and the reader has to hold it, so without a limit a stream could ask for 2 GiB.
const ZSTD_WINDOW_LOG: u32 = 27;

impl Compression {
    /// What the first bytes of a stream say.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            // A frame, or one to be skipped, which may come first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// A stream with its compression taken off.
pub enum Decoder<R: BufRead> {
    /// It had none.
    Plain(R),
    /// All members of a gzip stream: a decoder of only the first would let programs disagree about the contents.
    Gzip(Box<MultiGzDecoder<R>>),
    /// All frames of a zstd stream.
    Zstd(Box<ZstdDecoder<'static, R>>),
}

impl<R: BufRead> Decoder<R> {
    /// Looks at the first bytes and takes off what they announce.
    pub fn sniffing(mut from: R) -> io::Result<Self> {
        Ok(match Compression::sniff(from.fill_buf()?) {
            Compression::None => Self::Plain(from),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(from))),
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(from)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(Box::new(decoder))
            }
        })
    }

    /// What was found.
    pub fn compression(&self) -> Compression {
        match self {
            Self::Plain(_) => Compression::None,
            Self::Gzip(_) => Compression::Gzip,
            Self::Zstd(_) => Compression::Zstd,
        }
    }

    /// The compressed side.
    pub fn inner(&mut self) -> &mut R {
        match self {
            Self::Plain(from) => from,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(from) => from.read(into),
            Self::Gzip(decoder) => decoder.read(into),
            Self::Zstd(decoder) => decoder.read(into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::sniffing(bytes)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn each_compression_is_taken_off() {
        assert_eq!(inflate(b"plain").unwrap(), b"plain");
        assert_eq!(inflate(b"").unwrap(), b"");
        assert_eq!(inflate(&gzip(b"gz")).unwrap(), b"gz");
        assert_eq!(inflate(&zstd::encode_all(&b"zs"[..], 1).unwrap()).unwrap(), b"zs");
    }

    #[test]
    fn every_member_and_frame_counts() {
        assert_eq!(inflate(&[gzip(b"one "), gzip(b"two")].concat()).unwrap(), b"one two");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        assert_eq!(inflate(&[frame(b"one "), frame(b"two")].concat()).unwrap(), b"one two");
    }

    #[test]
    fn truncation_and_damage_are_errors() {
        let whole = gzip(&[7; 5000]);
        assert!(inflate(&whole[..whole.len() - 1]).is_err());
        let mut damaged = whole.clone();
        let crc = damaged.len() - 8;
        damaged[crc] ^= 1;
        assert!(inflate(&damaged).is_err());
        assert!(inflate(&[whole, b"junk".to_vec()].concat()).is_err());
        let frame = zstd::encode_all(&[7; 5000][..], 1).unwrap();
        assert!(inflate(&frame[..frame.len() - 1]).is_err());
    }

    #[test]
    fn a_zstd_window_above_the_limit_is_refused() {
        // A frame header that asks for a window of 2 GiB (window log 31), followed by one raw block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (31 - 10) << 3, 0x09, 0x00, 0x00, b'x'];
        assert!(inflate(&frame).is_err());
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, (20 - 10) << 3, 0x09, 0x00, 0x00, b'x'];
        assert_eq!(inflate(&frame).unwrap(), b"x");
    }
}
