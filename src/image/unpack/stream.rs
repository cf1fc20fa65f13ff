//! The bytes of an archive, in one buffer of fixed size, whatever the archive's size.
//!
//! Headers are read where they lie and file data is written from where it lies: each byte is moved once, from
//! the decompressor into the buffer. This is separate from the archive because it knows nothing of tar, only of
//! "the next n bytes" and of an end that came too early.

use std::io::{ErrorKind, Read};

/// As much as any reader is asked for at once, and the longest piece that can be looked at as a whole.
pub const BUFFER: usize = 1 << 20;

/// Pieces of file data are at least this long, unless the file ends: fewer calls of write(2).
const PIECE: usize = 256 << 10;

/// A reader with a window on what comes next.
pub struct Stream<'a> {
    reader: &'a mut dyn Read,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// How many bytes were consumed: the offset of the window.
    pub offset: u64,
}

/// The stream could not give what was asked for.
#[derive(Debug)]
pub enum Short {
    /// It ended, after this many of the bytes.
    End(usize),
    /// Its reader failed: the decompressor, or a digest that does not match.
    Failed(std::io::Error),
}

impl<'a> Stream<'a> {
    /// A stream at the beginning of `reader`.
    pub fn new(reader: &'a mut dyn Read) -> Self {
        Self { reader, buffer: vec![0; BUFFER], start: 0, end: 0, offset: 0 }
    }

    /// The bytes in the window.
    fn window(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Makes the window at least `wanted` bytes long.
    fn fill(&mut self, wanted: usize) -> Result<(), Short> {
        if self.buffer.len() - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < wanted {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Err(Short::End(self.end - self.start)),
                Ok(read) => self.end += read,
                Err(interrupted) if interrupted.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Short::Failed(error)),
            }
        }
        Ok(())
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// The next block, copied out of the window.
    pub fn block<const N: usize>(&mut self) -> Result<[u8; N], Short> {
        self.fill(N)?;
        let mut block = [0; N];
        block.copy_from_slice(&self.window()[..N]);
        self.consume(N);
        Ok(block)
    }

    /// Gives `count` bytes to `each`, in pieces.
    pub fn pieces<E: From<Short>>(
        &mut self,
        mut count: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while count > 0 {
            let most = usize::try_from(count).unwrap_or(usize::MAX);
            self.fill(most.min(PIECE))?;
            let piece = most.min(self.end - self.start);
            each(&self.window()[..piece])?;
            self.consume(piece);
            count -= piece as u64;
        }
        Ok(())
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: u64) -> Result<(), Short> {
        self.pieces(count, |_| Ok(()))
    }

    /// Reads to the end, so that whoever digests the stream sees all of it; returns how much that was.
    pub fn drain(&mut self) -> Result<u64, std::io::Error> {
        let before = self.offset;
        loop {
            let rest = self.end - self.start;
            self.consume(rest);
            match self.fill(1) {
                Ok(()) => {}
                Err(Short::End(_)) => return Ok(self.offset - before),
                Err(Short::Failed(error)) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader that gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(&mut into[..1])
        }
    }

    #[test]
    fn pieces_are_whole_and_the_end_is_noticed() {
        let data: Vec<u8> = (0..=255).cycle().take(BUFFER * 2 + 77).collect();
        let mut reader = data.as_slice();
        let mut stream = Stream::new(&mut reader);
        assert_eq!(stream.block::<3>().unwrap(), [0, 1, 2]);
        let mut seen = vec![0, 1, 2];
        stream
            .pieces::<Short>(data.len() as u64 - 10, |piece| {
                seen.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, data[..data.len() - 7]);
        assert!(matches!(stream.block::<8>(), Err(Short::End(7))));
        assert_eq!(stream.drain().unwrap(), 7);
        assert_eq!(stream.offset, data.len() as u64);
    }

    #[test]
    fn a_slow_reader_gives_the_same() {
        let data: Vec<u8> = (0..200).collect();
        let mut reader = Slow(&data);
        let mut stream = Stream::new(&mut reader);
        stream.skip(100).unwrap();
        assert_eq!(stream.block::<2>().unwrap(), [100, 101]);
        assert!(matches!(stream.skip(100), Err(Short::End(98))));
    }
}
