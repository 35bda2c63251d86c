//! Frames as bytes.
//!
//! **Contract**: no I/O. Whatever bytes come in, a decoder needs no more memory than [`MAX_CONTROL`] compressed and
//! [`MAX_HEADERS`] uncompressed bytes of headers and [`MAX_DATA`] of data at a time; longer data frames come out in
//! pieces. After an error a decoder is not used again.
//! **Upstream**: SPDY protocol, draft 3.1; peers are Go's `spdystream`.

use super::dictionary::DICTIONARY;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Bytes of a control frame after its header.
pub const MAX_CONTROL: usize = 64 * 1024;
/// Bytes of a header block when it is uncompressed.
pub const MAX_HEADERS: usize = 64 * 1024;
/// Bytes of data that come out at a time.
pub const MAX_DATA: usize = 32 * 1024;

const VERSION: u16 = 3;
const HEADER: usize = 8;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const SETTINGS: u16 = 4;
    pub(super) const PING: u16 = 6;
    pub(super) const GO_AWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
    pub(super) const WINDOW_UPDATE: u16 = 9;
}

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ResetStatus(pub u32);

#[allow(missing_docs)]
impl ResetStatus {
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INVALID_STREAM: Self = Self(2);
    pub const REFUSED_STREAM: Self = Self(3);
    pub const CANCEL: Self = Self(5);
}

/// `SETTINGS_INITIAL_WINDOW_SIZE`.
pub const SETTING_INITIAL_WINDOW: u32 = 7;

/// Names (in lower case) with values, in order; a repeated name is one entry with values joined by a zero byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// From names and values.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect())
    }

    /// The first value of a name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        value.split('\0').next()
    }
}

/// One frame; of a long data frame, a piece.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Frame {
    SynStream { id: u32, fin: bool, unidirectional: bool, headers: Headers },
    SynReply { id: u32, fin: bool, headers: Headers },
    RstStream { id: u32, status: ResetStatus },
    Settings(Vec<(u32, u32)>),
    Ping(u32),
    GoAway { last: u32, status: u32 },
    Headers { id: u32, fin: bool, headers: Headers },
    WindowUpdate { id: u32, delta: u32 },
    Data { id: u32, fin: bool, bytes: Bytes },
}

/// What is wrong with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not version 3.
    #[error("SPDY version {0} is not supported")]
    Version(u16),
    /// A control frame of this length.
    #[error("control frame of {0} bytes")]
    TooLong(usize),
    /// A frame whose length does not fit its type.
    #[error("malformed frame of type {0}")]
    Malformed(u16),
    /// The header block cannot be uncompressed, or is too long.
    #[error("malformed header block")]
    HeaderBlock,
    /// Stream 0, where a stream is named.
    #[error("stream id 0")]
    ZeroStream,
}

/// Bytes to frames.
pub struct Decoder {
    inflate: Decompress,
    /// Rest of a data frame that is read: stream, bytes left, whether the stream ends with it.
    data: Option<(u32, usize, bool)>,
    /// Bytes left of a frame of unknown type.
    skip: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { inflate: Decompress::new(true), data: None, skip: 0 }
    }
}

impl Decoder {
    /// Takes the next frame off `source`; none: more bytes are needed.
    pub fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        loop {
            if self.skip > 0 {
                let gone = self.skip.min(source.len());
                source.advance(gone);
                self.skip -= gone;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if let Some((id, left, fin)) = self.data {
                return Ok(self.piece(source, id, left, fin));
            }
            let Some(header) = source.get(..HEADER) else { return Ok(None) };
            let word = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
            let flags = header[4];
            let length = u32::from_be_bytes([0, header[5], header[6], header[7]]) as usize;
            if word & 0x8000_0000 == 0 {
                if word == 0 {
                    return Err(DecodeError::ZeroStream);
                }
                source.advance(HEADER);
                self.data = Some((word, length, flags & FLAG_FIN != 0));
                continue;
            }
            let (version, kind) = ((word >> 16 & 0x7fff) as u16, word as u16);
            if version != VERSION {
                return Err(DecodeError::Version(version));
            }
            if !matches!(kind, kind::SYN_STREAM..=kind::SETTINGS | kind::PING..=kind::WINDOW_UPDATE) {
                source.advance(HEADER);
                self.skip = length;
                continue;
            }
            if length > MAX_CONTROL {
                return Err(DecodeError::TooLong(length));
            }
            if source.len() < HEADER + length {
                return Ok(None);
            }
            source.advance(HEADER);
            let payload = source.split_to(length).freeze();
            return self.control(kind, flags, payload).map(Some);
        }
    }

    fn piece(&mut self, source: &mut BytesMut, id: u32, left: usize, fin: bool) -> Option<Frame> {
        let take = left.min(MAX_DATA).min(source.len());
        if take == 0 && left > 0 {
            return None;
        }
        let left = left - take;
        self.data = (left > 0).then_some((id, left, fin));
        let bytes = source.split_to(take).freeze();
        Some(Frame::Data { id, fin: fin && left == 0, bytes })
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Frame, DecodeError> {
        let fixed = match kind {
            kind::SYN_STREAM => 10,
            kind::RST_STREAM | kind::GO_AWAY | kind::WINDOW_UPDATE => 8,
            _ => 4,
        };
        if payload.len() < fixed {
            return Err(DecodeError::Malformed(kind));
        }
        let fin = flags & FLAG_FIN != 0;
        let first = payload.get_u32();
        let id = first & 0x7fff_ffff;
        let names_stream = !matches!(kind, kind::SETTINGS | kind::GO_AWAY | kind::WINDOW_UPDATE);
        if names_stream && id == 0 {
            return Err(DecodeError::ZeroStream);
        }
        Ok(match kind {
            kind::SYN_STREAM => {
                payload.advance(6);
                let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
                Frame::SynStream { id, fin, unidirectional, headers: self.headers(&payload)? }
            }
            kind::SYN_REPLY => Frame::SynReply { id, fin, headers: self.headers(&payload)? },
            kind::HEADERS => Frame::Headers { id, fin, headers: self.headers(&payload)? },
            kind::RST_STREAM => Frame::RstStream { id, status: ResetStatus(payload.get_u32()) },
            kind::GO_AWAY => Frame::GoAway { last: id, status: payload.get_u32() },
            kind::WINDOW_UPDATE => Frame::WindowUpdate { id, delta: payload.get_u32() & 0x7fff_ffff },
            kind::SETTINGS => {
                if payload.len() != (first as usize).saturating_mul(8) {
                    return Err(DecodeError::Malformed(kind));
                }
                let settings = payload.chunks_exact(8).map(|mut pair| {
                    let key = pair.get_u32() & 0x00ff_ffff;
                    (key, pair.get_u32())
                });
                Frame::Settings(settings.collect())
            }
            _ => Frame::Ping(first),
        })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, DecodeError> {
        let plain = self.inflate(block)?;
        read_headers(&plain).ok_or(DecodeError::HeaderBlock)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let mut plain = Vec::with_capacity(1024);
        loop {
            if plain.len() > MAX_HEADERS {
                return Err(DecodeError::HeaderBlock);
            }
            if plain.capacity() == plain.len() {
                plain.reserve(plain.len());
            }
            let (seen, made) = (self.inflate.total_in(), plain.len());
            let outcome = self.inflate.decompress_vec(block, &mut plain, FlushDecompress::Sync);
            let taken = usize::try_from(self.inflate.total_in() - seen).unwrap_or(block.len());
            block = &block[taken.min(block.len())..];
            match outcome {
                Ok(Status::StreamEnd) => return Err(DecodeError::HeaderBlock),
                Ok(_) if block.is_empty() && plain.len() < plain.capacity() => return Ok(plain),
                Ok(_) if taken == 0 && plain.len() == made && plain.len() < plain.capacity() => {
                    return Err(DecodeError::HeaderBlock);
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.inflate.set_dictionary(&DICTIONARY).map_err(|_| DecodeError::HeaderBlock)?;
                }
                Err(_) => return Err(DecodeError::HeaderBlock),
            }
        }
    }
}

/// None: lengths that do not add up, or text that is none.
fn read_headers(mut block: &[u8]) -> Option<Headers> {
    fn word(block: &mut &[u8]) -> Option<String> {
        let length = block.try_get_u32().ok()? as usize;
        let (word, rest) = block.split_at_checked(length)?;
        *block = rest;
        Some(String::from_utf8_lossy(word).into_owned())
    }
    let count = block.try_get_u32().ok()? as usize;
    // Each takes eight bytes at least.
    if count > block.len() / 8 {
        return None;
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        headers.push((word(&mut block)?.to_ascii_lowercase(), word(&mut block)?));
    }
    Some(Headers(headers))
}

/// Frames to bytes.
pub struct Encoder {
    deflate: Compress,
    dictionary: bool,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::fast(), true), dictionary: false }
    }
}

impl Encoder {
    /// Appends a frame.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        match frame {
            Frame::SynStream { id, fin, unidirectional, headers } => {
                let flags = (u8::from(*fin) * FLAG_FIN) | (u8::from(*unidirectional) * FLAG_UNIDIRECTIONAL);
                let block = self.block(headers);
                control(out, kind::SYN_STREAM, flags, 10 + block.len());
                out.put_u32(*id);
                out.put_u32(0);
                out.put_u16(0);
                out.put_slice(&block);
            }
            Frame::SynReply { id, fin, headers } => {
                self.with_headers(out, kind::SYN_REPLY, *id, *fin, headers)
            }
            Frame::Headers { id, fin, headers } => self.with_headers(out, kind::HEADERS, *id, *fin, headers),
            Frame::RstStream { id, status } => pair(out, kind::RST_STREAM, *id, status.0),
            Frame::GoAway { last, status } => pair(out, kind::GO_AWAY, *last, *status),
            Frame::WindowUpdate { id, delta } => pair(out, kind::WINDOW_UPDATE, *id, *delta),
            Frame::Settings(settings) => {
                control(out, kind::SETTINGS, 0, 4 + 8 * settings.len());
                out.put_u32(settings.len() as u32);
                for (key, value) in settings {
                    out.put_u32(*key);
                    out.put_u32(*value);
                }
            }
            Frame::Ping(id) => {
                control(out, kind::PING, 0, 4);
                out.put_u32(*id);
            }
            Frame::Data { id, fin, bytes } => {
                out.put_u32(*id);
                out.put_u32(u32::from(*fin) << 24 | bytes.len() as u32);
                out.put_slice(bytes);
            }
        }
    }

    fn with_headers(&mut self, out: &mut BytesMut, kind: u16, id: u32, fin: bool, headers: &Headers) {
        let block = self.block(headers);
        control(out, kind, u8::from(fin) * FLAG_FIN, 4 + block.len());
        out.put_u32(id);
        out.put_slice(&block);
    }

    fn block(&mut self, headers: &Headers) -> Vec<u8> {
        let mut plain = Vec::new();
        plain.put_u32(headers.0.len() as u32);
        for (name, value) in &headers.0 {
            for word in [name, value] {
                plain.put_u32(word.len() as u32);
                plain.put_slice(word.as_bytes());
            }
        }
        if !std::mem::replace(&mut self.dictionary, true) {
            self.deflate.set_dictionary(&DICTIONARY).expect("nothing was compressed before");
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let mut rest = &plain[..];
        loop {
            let seen = self.deflate.total_in();
            let outcome = self.deflate.compress_vec(rest, &mut block, FlushCompress::Sync);
            outcome.expect("a compressor in its stream takes any bytes");
            rest = &rest[(self.deflate.total_in() - seen) as usize..];
            if rest.is_empty() && block.len() < block.capacity() {
                return block;
            }
            block.reserve(block.len() + 64);
        }
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | length as u32);
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) {
    control(out, kind, 0, 8);
    out.put_u32(first);
    out.put_u32(second);
}
