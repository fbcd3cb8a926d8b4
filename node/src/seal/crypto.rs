//! AES-256-GCM over bytes: the layout of what is sealed, and what is bound to it.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 32;

/// Bytes of the salt in front of a wrapped key.
const SALT_BYTES: usize = 16;

/// A secret of 256 bits.
pub(super) type Secret = [u8; KEY_BYTES];

/// What a sealed value or wrapped key belongs to; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound<'a> {
    /// What it is: one word per use of the format.
    pub(super) purpose: &'static str,
    /// The texts it is bound to.
    pub(super) texts: &'a [&'a str],
    /// The number of the data key.
    pub(super) key_id: u64,
}

impl Bound<'_> {
    /// Each part with its length in front, so that no two lists of parts give the same bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.key_id.to_be_bytes().to_vec();
        for text in std::iter::once(&self.purpose).chain(self.texts) {
            bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }
}

/// The key that `secret` stands for. Only a length could be wrong, and the type has it.
pub(super) fn key_of(secret: &Secret) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, secret).ok().map(LessSafeKey::new)
}

/// Nonce, ciphertext and tag.
pub(super) fn seal(key: &LessSafeKey, bound: &Bound<'_>, clear: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE_LEN] = rand::random();
    let mut sealed = Vec::with_capacity(NONCE_LEN + clear.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(clear);
    let aad = Aad::from(bound.bytes());
    let nonce = Nonce::assume_unique_for_key(nonce);
    let (_nonce, inside) = sealed.split_at_mut_checked(NONCE_LEN)?;
    let tag = key.seal_in_place_separate_tag(nonce, aad, inside).ok()?;
    sealed.extend_from_slice(tag.as_ref());
    Some(sealed)
}

/// What was sealed so; `None` when it was not, or was altered.
pub(super) fn open(key: &LessSafeKey, bound: &Bound<'_>, sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, inside) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut inside = inside.to_vec();
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let clear = key.open_in_place(nonce, Aad::from(bound.bytes()), &mut inside).ok()?.len();
    inside.truncate(clear);
    Some(inside)
}

/// Wraps a data key: salt, then the key sealed under one that follows from `outer` and the salt. So
/// many keys may be wrapped under one territory key: no pair of salt and nonce comes twice.
pub(super) fn wrap(outer: &Secret, bound: &Bound<'_>, inner: &Secret) -> Option<Vec<u8>> {
    let salt: [u8; SALT_BYTES] = rand::random();
    let sealed = seal(&derived(outer, &salt)?, bound, inner)?;
    Some([salt.as_slice(), &sealed].concat())
}

/// The data key that was wrapped so.
pub(super) fn unwrap(outer: &Secret, bound: &Bound<'_>, wrapped: &[u8]) -> Option<Secret> {
    let (salt, sealed) = wrapped.split_first_chunk::<SALT_BYTES>()?;
    open(&derived(outer, salt)?, bound, sealed)?.try_into().ok()
}

fn derived(outer: &Secret, salt: &[u8]) -> Option<LessSafeKey> {
    let extracted = Salt::new(HKDF_SHA256, salt).extract(outer);
    let expanded = extracted.expand(&[b"hexpop session key wrap"], &AES_256_GCM).ok()?;
    Some(LessSafeKey::new(UnboundKey::from(expanded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound<'_> = Bound { purpose: "value", texts: &["it-lazio.a", "u1"], key_id: 7 };

    #[test]
    fn a_value_opens_only_where_it_belongs() {
        let key = key_of(&[1; 32]).unwrap();
        let sealed = seal(&key, &BOUND, b"clear").unwrap();
        assert_eq!(sealed.len(), 5 + 28);
        assert_eq!(open(&key, &BOUND, &sealed).as_deref(), Some(b"clear".as_slice()));
        assert_ne!(seal(&key, &BOUND, b"clear").unwrap(), sealed);
        for elsewhere in [
            Bound { purpose: "key", ..BOUND },
            Bound { texts: &["it-lazio.b", "u1"], ..BOUND },
            Bound { texts: &["it-lazio.a", "u2"], ..BOUND },
            Bound { texts: &["it-lazio.au", "1"], ..BOUND },
            Bound { key_id: 8, ..BOUND },
        ] {
            assert_eq!(open(&key, &elsewhere, &sealed), None, "{elsewhere:?}");
        }
        assert_eq!(open(&key_of(&[2; 32]).unwrap(), &BOUND, &sealed), None);
    }

    #[test]
    fn altered_bytes_do_not_open() {
        let key = key_of(&[1; 32]).unwrap();
        let sealed = seal(&key, &BOUND, b"clear").unwrap();
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(open(&key, &BOUND, &altered), None, "byte {at}");
            assert_eq!(open(&key, &BOUND, &sealed[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn a_wrapped_key_opens_under_its_key_only() {
        let wrapped = wrap(&[1; 32], &BOUND, &[9; 32]).unwrap();
        assert_eq!(wrapped.len(), 16 + 12 + 32 + 16);
        assert_eq!(unwrap(&[1; 32], &BOUND, &wrapped), Some([9; 32]));
        assert_eq!(unwrap(&[2; 32], &BOUND, &wrapped), None);
        assert_eq!(unwrap(&[1; 32], &Bound { key_id: 8, ..BOUND }, &wrapped), None);
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert_eq!(unwrap(&[1; 32], &BOUND, &altered), None, "byte {at}");
        }
    }
}
