//! The hash of a template that tells one revision's objects from another's.
//!
//! **Contract**: equal templates have equal hashes, in every run and version of this program; another collision count
//! gives another hash.
//! **Upstream**: `controller.ComputeHash`, `rand.SafeEncodeString`. The figures differ from upstream's, which hashes a
//! dump of Go's memory.

use k8s_openapi::serde::Serialize;

/// The letters of generated names (`apimachinery/pkg/util/rand`).
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
const OFFSET: u32 = 0x811c_9dc5;
const PRIME: u32 = 0x0100_0193;

/// The hash of what something looks like as JSON, and of how often that hash was taken already.
pub(crate) fn compute<T: Serialize>(template: &T, collisions: Option<i32>) -> String {
    let json = serde_json::to_vec(template).expect("an object of the API can be written as JSON");
    let mut hash = fnv1a(OFFSET, &json);
    if let Some(count) = collisions {
        hash = fnv1a(hash, &count.to_le_bytes());
    }
    safe_encode(&hash.to_string())
}

fn fnv1a(seed: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(seed, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(PRIME))
}

/// Letters that make no words.
fn safe_encode(text: &str) -> String {
    text.bytes().map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn is_stable_and_differs_by_content_and_collisions() {
        // FNV-1a of "foobar" is a published test vector.
        assert_eq!(fnv1a(OFFSET, b"foobar"), 0xbf9c_f968);
        let one = json!({"labels": {"app": "web"}});
        assert_eq!(compute(&one, Some(0)), compute(&one, Some(0)));
        assert_ne!(compute(&one, Some(0)), compute(&one, Some(1)));
        assert_ne!(compute(&one, None), compute(&json!({"labels": {"app": "api"}}), None));
        assert!(compute(&one, None).bytes().all(|letter| ALPHABET.contains(&letter)));
    }
}
