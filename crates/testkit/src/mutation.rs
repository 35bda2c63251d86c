//! Bytes that are almost right: what a hostile or broken peer could send.
//!
//! **Contract**: used by property tests of decoders, which must answer whatever the bytes; `PROPTEST_CASES` says how many cases
//! each test tries.

use proptest::collection::vec;
use proptest::prelude::*;

/// A change of bytes at a place that is taken modulo the length.
#[derive(Debug, Clone)]
pub enum Mutation {
    /// One bit is turned.
    Flip(usize, u8),
    /// One byte is another.
    Set(usize, u8),
    /// So many bytes are gone.
    Cut(usize, usize),
    /// So many bytes come twice.
    Repeat(usize, usize),
    /// There are more bytes.
    Insert(usize, Vec<u8>),
}

/// Any change.
pub fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<usize>();
    prop_oneof![
        (place, 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (place, prop_oneof![Just(0), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()])
            .prop_map(|(at, byte)| Mutation::Set(at, byte)),
        (place, 1..64usize).prop_map(|(at, length)| Mutation::Cut(at, length)),
        (place, 1..256usize).prop_map(|(at, length)| Mutation::Repeat(at, length)),
        (place, vec(any::<u8>(), 1..32)).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
    ]
}

/// The bytes after these changes.
pub fn mutate(mut bytes: Vec<u8>, mutations: &[Mutation]) -> Vec<u8> {
    for mutation in mutations {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        let end = |at: usize, n: usize| (at % length + n).min(length);
        match mutation {
            Mutation::Flip(at, bit) => bytes[at % length] ^= 1 << bit,
            Mutation::Set(at, byte) => bytes[at % length] = *byte,
            Mutation::Cut(at, n) => drop(bytes.drain(at % length..end(*at, *n))),
            Mutation::Repeat(at, n) => {
                let piece = bytes[at % length..end(*at, *n)].to_vec();
                bytes.splice(at % length..at % length, piece);
            }
            Mutation::Insert(at, piece) => drop(bytes.splice(at % length..at % length, piece.clone())),
        }
    }
    bytes
}
