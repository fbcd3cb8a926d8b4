//! A hash that is the same on every platform and in every build: replicas compare their states by it.

/// FNV-1a, 64 bits, over length-prefixed records. It finds accidents, not attackers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StableHash(u64);

impl StableHash {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Takes one record; two records are never the same as one.
    pub(crate) fn record(&mut self, bytes: &[u8]) {
        self.bytes(&(bytes.len() as u64).to_le_bytes());
        self.bytes(bytes);
    }

    /// The hash of all records so far.
    pub(crate) const fn finish(self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(records: &[&[u8]]) -> u64 {
        let mut hash = StableHash::new();
        for record in records {
            hash.record(record);
        }
        hash.finish()
    }

    #[test]
    fn the_hash_depends_on_the_records_and_their_bounds() {
        assert_eq!(of(&[]), 0xcbf2_9ce4_4fd0_bfc1);
        assert_ne!(of(&[b"ab"]), of(&[b"a", b"b"]));
        assert_ne!(of(&[b"a", b"b"]), of(&[b"b", b"a"]));
        assert_ne!(of(&[b""]), of(&[]));
    }
}
