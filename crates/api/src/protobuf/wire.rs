//! The wire format: numbers, tags, fields with a length.
//!
//! **Upstream**: protobuf's encoding; groups are not used.

use super::Error;

/// Wire type of numbers.
pub(super) const VARINT: u8 = 0;
/// Wire type of doubles.
pub(super) const FIXED64: u8 = 1;
/// Wire type of everything with a length.
pub(super) const BYTES: u8 = 2;
/// Wire type of floats, which nothing has but unknown fields.
const FIXED32: u8 = 5;

/// The largest field number.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    Varint(u64),
    Double(f64),
    Bytes(&'a [u8]),
    /// Something that no field of ours has.
    Other,
}

/// Takes one field off the front.
pub(super) fn next<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Raw<'a>), Error> {
    let tag = varint(bytes)?;
    let number = tag >> 3;
    if number == 0 || number > MAX_NUMBER {
        return Err(Error::IllegalTag(number));
    }
    let wire_type = (tag & 7) as u8;
    let raw = match wire_type {
        VARINT => Raw::Varint(varint(bytes)?),
        FIXED64 => {
            let (head, tail) = bytes.split_first_chunk::<8>().ok_or(Error::Truncated)?;
            *bytes = tail;
            Raw::Double(f64::from_le_bytes(*head))
        }
        BYTES => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| Error::Truncated)?;
            let (head, tail) = bytes.split_at_checked(length).ok_or(Error::Truncated)?;
            *bytes = tail;
            Raw::Bytes(head)
        }
        FIXED32 => {
            *bytes = bytes.get(4..).ok_or(Error::Truncated)?;
            Raw::Other
        }
        other => return Err(Error::IllegalWireType(other)),
    };
    Ok((number as u32, raw))
}

/// Takes a number off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Error> {
    let mut value = 0;
    for (at, byte) in bytes.iter().copied().enumerate() {
        // The tenth byte has one bit to give.
        if at == 9 && byte > 1 {
            return Err(Error::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    Err(Error::Truncated)
}

/// Appends a number.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends what stands before a value.
pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a field of bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field of numbers.
pub(super) fn put_number(out: &mut Vec<u8>, number: u32, value: i64) {
    put_tag(out, number, VARINT);
    put_varint(out, value.cast_unsigned());
}

/// Appends a field with a length, whose content `write` appends.
pub(super) fn put_nested(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), Error>,
) -> Result<(), Error> {
    put_tag(out, number, BYTES);
    // Most contents are short: room for one byte of length, more is made when it is needed.
    let at = out.len();
    out.push(0);
    write(out)?;
    let length = out.len() - at - 1;
    if let Ok(short @ 0..0x80) = u8::try_from(length) {
        out[at] = short;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(10);
    put_varint(&mut prefix, length as u64);
    out.splice(at..=at, prefix);
    Ok(())
}
