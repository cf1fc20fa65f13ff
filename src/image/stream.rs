//! A layer's bytes, flowing once: read, hashed as stored, copied if asked, decompressed, hashed as a plain tar.
//!
//! Separate because this is the whole of verification and the whole of the speed. Everything is done in one pass
//! over one large buffer in the thread that unpacks: with layers unpacked in parallel there is no core left for a
//! second thread per layer, and nothing is ever held but the buffers.
//!
//! ```text
//! Blob ──256 KiB──▶ digest ──▶ copy (a blob of the store) ──▶ inflate ──256 KiB──▶ diff ID ──▶ unpacker
//! ```

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use super::compression::{Compression, Decoder};
use super::digest::{Digest, Hasher};
use super::files::Blob;
use super::source::Layer;
use super::unpack::{Limits, RATIO_FROM};
use crate::error::{Error, Result};

/// The size of both buffers: large enough that the calls cost nothing, small enough for the cache.
const BUFFER: usize = 256 << 10;

/// Where a layer stands, for errors: `layer 2 of 5 (sha256:…)`.
#[must_use]
pub fn layer_name(number: usize, of: usize, digest: &Digest) -> String {
    format!("layer {number} of {of} ({digest})")
}

/// A copy of the compressed bytes that is being written.
pub struct Copy {
    /// The file.
    pub file: File,
    /// Its path, for errors.
    pub path: std::path::PathBuf,
}

/// The compressed side: hashes and copies what the decoder takes.
struct Tap<'a> {
    blob: Blob,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hasher: Hasher,
    copy: Option<Copy>,
    watch: &'a (dyn Fn(u64) -> bool + Sync),
    /// Stored bytes that were read.
    taken: u64,
    failure: Option<Error>,
}

impl Tap<'_> {
    /// Reads the next piece, hashes it and copies it.
    fn refill(&mut self) -> io::Result<()> {
        let len = match self.blob.read(&mut self.buffer) {
            Ok(len) => len,
            Err(cause) => {
                self.failure = Some(Error::io(format!("cannot read {}", self.blob.what()), &cause));
                return Err(cause);
            }
        };
        (self.start, self.end) = (0, len);
        self.taken += len as u64;
        self.hasher.update(&self.buffer[..len]);
        if let Some(Copy { file, path }) = &mut self.copy
            && let Err(cause) = file.write_all(&self.buffer[..len])
        {
            self.failure = Some(super::store::write_failed(path, &cause));
            return Err(cause);
        }
        if (self.watch)(len as u64) {
            return Ok(());
        }
        self.failure = Some(Error::new("stopped before the end"));
        Err(io::Error::other("stopped"))
    }
}

impl Read for Tap<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.fill_buf()?.read(into)?;
        self.consume(len);
        Ok(len)
    }
}

impl BufRead for Tap<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.refill()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, len: usize) {
        self.start = (self.start + len).min(self.end);
    }
}

/// The plain side: hashes what the decoder gives.
struct Plain<'a> {
    decoder: Decoder<Tap<'a>>,
    hasher: Option<Hasher>,
    /// Plain bytes that were given.
    given: u64,
    /// How many times as many as stored ones they may be.
    ratio: u64,
}

impl Plain<'_> {
    /// A few stored bytes that become very many are a bomb, or a mistake.
    fn check_ratio(&mut self) -> io::Result<()> {
        let (given, ratio) = (self.given, self.ratio);
        let tap = self.decoder.inner();
        if given <= RATIO_FROM || given / tap.taken.max(1) <= ratio {
            return Ok(());
        }
        tap.failure = Some(
            Error::new(format!("becomes more than {ratio} times as large as it is stored"))
                .rule(format!(
                    "{} bytes of it are {given} bytes unpacked so far (--max-ratio {ratio})",
                    tap.taken
                ))
                .remedy("raise the limit with --max-ratio if you trust the image"),
        );
        Err(io::Error::other("larger than its limit"))
    }
}

impl Read for Plain<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let len = self.decoder.read(into)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&into[..len]);
        }
        self.given += len as u64;
        self.check_ratio()?;
        Ok(len)
    }
}

/// A layer's plain tar. What it gives is not verified until [`LayerReader::finish`] has passed it.
pub struct LayerReader<'a> {
    plain: BufReader<Plain<'a>>,
    layer: &'a Layer,
    what: String,
}

impl<'a> LayerReader<'a> {
    /// Begins to read a layer. `watch` is told how many stored bytes were read and says whether to go on.
    pub fn new(
        what: String,
        layer: &'a Layer,
        blob: Blob,
        copy: Option<Copy>,
        watch: &'a (dyn Fn(u64) -> bool + Sync),
    ) -> Result<Self> {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let mut tap = Tap {
            blob,
            buffer,
            start: 0,
            end: 0,
            hasher: Hasher::default(),
            copy,
            watch,
            taken: 0,
            failure: None,
        };
        if let Err(cause) = tap.fill_buf() {
            let error = tap.failure.take().unwrap_or_else(|| Error::io("cannot be read", &cause));
            return Err(prefixed(&what, error));
        }
        let decoder =
            Decoder::sniffing(tap).map_err(|cause| Error::io(format!("{what}: cannot be read"), &cause))?;
        let one_hash = decoder.compression() == Compression::None && layer.descriptor.digest == layer.diff_id;
        let plain = Plain {
            decoder,
            hasher: (!one_hash).then(Hasher::default),
            given: 0,
            ratio: Limits::default().ratio,
        };
        Ok(Self { plain: BufReader::with_capacity(BUFFER, plain), layer, what })
    }

    /// Sets how many times larger than it is stored the layer may become.
    pub fn bound(&mut self, ratio: u64) {
        self.plain.get_mut().ratio = ratio;
    }

    /// Reads what the unpacker left, then compares the length, the digest and the diff ID. Gives the copy back.
    pub fn finish(mut self) -> Result<Option<Copy>> {
        let mut rest = vec![0; BUFFER];
        loop {
            match self.plain.read(&mut rest) {
                Ok(0) => break,
                Ok(_) => {}
                Err(cause) => {
                    let error =
                        Error::new(format!("{}: cannot be decompressed", self.what)).rule(cause.to_string());
                    return Err(self.why(error));
                }
            }
        }
        self.verify()
    }

    /// The true cause of a failure: when the bytes are not those that were promised, what the unpacker made of
    /// them does not matter.
    #[must_use]
    pub fn why(mut self, error: Error) -> Error {
        let tap = self.plain.get_mut().decoder.inner();
        if let Some(failure) = tap.failure.take() {
            return prefixed(&self.what, failure);
        }
        let unpacking = error;
        while tap.refill().is_ok() && tap.end > 0 {}
        if let Some(failure) = tap.failure.take() {
            return prefixed(&self.what, failure);
        }
        match self.verify_stored() {
            Err(damaged) => damaged,
            Ok(()) => prefixed(&self.what, unpacking),
        }
    }

    /// Compares what was read as it is stored.
    fn verify_stored(&mut self) -> Result<()> {
        let tap = self.plain.get_mut().decoder.inner();
        let (digest, size) = tap.hasher.clone().finish();
        let promised = &self.layer.descriptor;
        if size != promised.size {
            return Err(Error::new(format!("{} has {size} bytes", self.what))
                .rule(format!("its descriptor says that it has {}", promised.size)));
        }
        if digest != promised.digest {
            return Err(Error::new(format!("{} is not what its descriptor promises", self.what))
                .rule(format!("its bytes have the digest {digest}"))
                .remedy("the file was damaged or changed: make or fetch the image again"));
        }
        Ok(())
    }

    /// Compares everything.
    fn verify(mut self) -> Result<Option<Copy>> {
        if !self.plain.get_mut().decoder.inner().fill_buf().is_ok_and(<[u8]>::is_empty) {
            let error = Error::new(format!("{} goes on behind its compressed stream", self.what));
            return Err(self.why(error));
        }
        self.verify_stored()?;
        let plain = self.plain.get_mut().hasher.take();
        match plain.map(|hasher| hasher.finish().0).filter(|diff_id| *diff_id != self.layer.diff_id) {
            None => Ok(self.plain.get_mut().decoder.inner().copy.take()),
            Some(actual) => Err(Error::new(format!("{} is not the layer that the config names", self.what))
                .rule(format!(
                    "its plain tar has the digest {actual}, the config's diff ID is {}",
                    self.layer.diff_id
                ))),
        }
    }
}

impl Read for LayerReader<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.plain.read(into)
    }
}

/// Puts the layer in front of an error that does not name it.
fn prefixed(what: &str, error: Error) -> Error {
    if error.parts().what.contains(what) {
        return error;
    }
    let mut parts = error.parts().clone();
    parts.what = format!("{what}: {}", parts.what).into();
    parts.into()
}
