//! How a document is written under its key: one byte that names the form, a checksum of the key and
//! of everything else that is stored, and the document in that form.
//!
//! ```text
//! 1     crc32   document                        as it is
//! 2     crc32   length (u32)   LZ4 block        against the first dictionary
//!       crc32   document                        before there were forms: read, no longer written
//! ```
//!
//! The codec was chosen by measurement on the documents of 162,655 real listings (every 16th of
//! them, 457 bytes on average; 2 cores in the development profile, nanoseconds per document):
//!
//! | codec | ratio | compress | decompress | brings |
//! |---|---|---|---|---|
//! | LZ4, no dictionary | 1.09 | 920 | 320 | one Rust crate without `unsafe` |
//! | **LZ4, our dictionary** | **2.41** | **2,000** | **580** | the same |
//! | Zstandard 3, our dictionary | 2.75 | 3,600 | 1,300 | C code |
//! | Zstandard 3, dictionary trained on synthetic listings | 2.71 | 1,600 | 540 | the same, and an opaque dictionary |
//! | DEFLATE 6, no dictionary | 1.52 | 11,800 | 4,000 | nothing: it is in the tree |
//! | DEFLATE 6, our dictionary (2,000 documents of 429 bytes) | 2.82 | 78,000 | 4,100 | nothing |
//!
//! Documents are small, so the dictionary does nearly all of it: with the nine bytes before the
//! block, values take 198 bytes of 456 (2.30). Zstandard would save another 12% of the disk for C
//! code that reads what a disk gives back; DEFLATE costs forty times the time of LZ4 to write.
//! `real_documents_take_less_than_half_the_room` measures it again.

use lz4_flex::block::{compress_with_dict, decompress_into_with_dict};

use super::dictionary;

/// The document as it is.
const PLAIN: u8 = 1;
/// An LZ4 block against [`dictionary::FIRST`].
const LZ4_FIRST: u8 = 2;

/// What a document may be long: far beyond the longest listing. A length beyond it is damage.
const DOCUMENT_BYTES_MAX: usize = 16 << 20;

/// The value that keeps a document under a key: the shorter of the forms.
pub(super) fn seal(key: &[u8], document: &[u8]) -> Vec<u8> {
    let packed = match u32::try_from(document.len()) {
        Ok(length) if document.len() <= DOCUMENT_BYTES_MAX => {
            let block = compress_with_dict(document, dictionary::FIRST.as_bytes());
            (block.len() + 4 < document.len()).then(|| (length.to_le_bytes(), block))
        }
        _ => None,
    };
    match packed {
        Some((length, block)) => value(key, LZ4_FIRST, &[&length, &block]),
        None => value(key, PLAIN, &[document]),
    }
}

fn value(key: &[u8], form: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = hasher(key, Some(form));
    parts.iter().for_each(|part| hasher.update(part));
    let mut value = Vec::with_capacity(5 + parts.iter().map(|part| part.len()).sum::<usize>());
    value.push(form);
    value.extend_from_slice(&hasher.finalize().to_le_bytes());
    parts.iter().for_each(|part| value.extend_from_slice(part));
    value
}

/// Covers the key, so that a value under another key is damage too.
fn hasher(key: &[u8], form: Option<u8>) -> crc32fast::Hasher {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(form.as_slice());
    hasher
}

/// The document in a value; `None` if it is damaged or of a form that is not known here.
pub(super) fn unseal(key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    match body(key, value) {
        Some((PLAIN, document)) => Some(document.to_vec()),
        Some((LZ4_FIRST, packed)) => unpack(packed),
        Some(_) => None,
        // The first byte of a checksum may look like a form, and then its own checksum is wrong.
        None => formless(key, value).map(<[u8]>::to_vec),
    }
}

/// The form of a value and what it holds, if it is sound.
fn body<'a>(key: &[u8], value: &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&form, rest) = value.split_first()?;
    sound(hasher(key, Some(form)), rest).map(|body| (form, body))
}

/// The document in a value of the time before forms, if it is sound.
fn formless<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    sound(hasher(key, None), value)
}

/// What follows a checksum, if that is right.
fn sound(mut hasher: crc32fast::Hasher, checked: &[u8]) -> Option<&[u8]> {
    let (crc, body) = checked.split_first_chunk::<4>()?;
    hasher.update(body);
    (hasher.finalize() == u32::from_le_bytes(*crc)).then_some(body)
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let (length, block) = packed.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > DOCUMENT_BYTES_MAX {
        return None;
    }
    let mut document = vec![0; length];
    let written =
        decompress_into_with_dict(block, &mut document, dictionary::FIRST.as_bytes()).ok()?;
    (written == length).then_some(document)
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A value as it was written before there were forms.
    pub(in super::super) fn formless_value(key: &[u8], document: &[u8]) -> Vec<u8> {
        let mut hasher = hasher(key, None);
        hasher.update(document);
        [hasher.finalize().to_le_bytes().as_slice(), document].concat()
    }

    const LISTING: &[u8] = br#"{"id":"lst_1","source":"agency-feed","listingType":"sale","propertyType":"apartment","status":"active","price":{"amount":385000,"currency":"EUR"},"location":{"lat":45.4726,"lng":9.1860},"country":"IT","region":"lombardia","city":"Milano","neighborhood":"Brera","sqMeters":95,"rooms":3,"h3Index":"891f9985eb7ffff"}"#;

    #[test]
    fn a_listing_takes_half_the_room_and_comes_back_whole() {
        let sealed = seal(b"key", LISTING);
        assert!(sealed.len() * 2 < LISTING.len(), "{} of {}", sealed.len(), LISTING.len());
        assert_eq!(unseal(b"key", &sealed).as_deref(), Some(LISTING));
        assert_eq!(unseal(b"other", &sealed), None);
    }

    /// Values on disks refer into it.
    #[test]
    fn the_first_dictionary_is_what_it_was() {
        let text = dictionary::FIRST;
        assert_eq!((text.len(), crc32fast::hash(text.as_bytes())), (6_243, 0x257c95a5));
        // So is what a value looks like: a document that the dictionary ends with.
        let sealed = seal(b"key", br#""currency":"EUR"},"location":{"lat":4"#);
        assert_eq!(unseal(b"key", &sealed).unwrap(), br#""currency":"EUR"},"location":{"lat":4"#);
    }

    #[test]
    fn what_does_not_compress_is_kept_as_it_is() {
        for document in [b"".as_slice(), b"document", &[7, 200, 3, 99]] {
            let sealed = seal(b"key", document);
            assert_eq!((sealed[0], sealed.len()), (PLAIN, document.len() + 5));
            assert_eq!(unseal(b"key", &sealed).as_deref(), Some(document));
        }
    }

    #[test]
    fn a_form_of_the_future_is_no_document() {
        assert_eq!(unseal(b"key", &value(b"key", 3, &[b"anything"])), None);
    }

    proptest! {
        #[test]
        fn every_document_comes_back_and_no_damage_does(
            document in prop::collection::vec(any::<u8>(), 0..600),
            text in "[a-z\":,{}]{0,200}",
            at in any::<prop::sample::Index>(),
            bit in 0..8_u32,
        ) {
            for document in [document, text.into_bytes(), [LISTING, LISTING].concat()] {
                let mut sealed = seal(b"key", &document);
                prop_assert_eq!(unseal(b"key", &sealed), Some(document.clone()));
                let at = at.index(sealed.len());
                sealed[at] ^= 1 << bit;
                prop_assert_eq!(unseal(b"key", &sealed), None);
                let formless = formless_value(b"key", &document);
                prop_assert_eq!(unseal(b"key", &formless), Some(document));
            }
        }

        /// The checksum is no defence against whoever can compute it.
        #[test]
        fn sound_nonsense_is_no_document_or_some(
            form in 0..4_u8,
            length in prop_oneof![0..2_000_u32, any::<u32>()],
            block in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let nonsense = value(b"key", form, &[&length.to_le_bytes(), &block]);
            unseal(b"key", &nonsense);
        }
    }
}
