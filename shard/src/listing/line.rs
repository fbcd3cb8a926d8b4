//! One line of a feed or an import: a listing, or the deletion of one.

use super::{
    FieldError, Listing, ListingFormat, ListingVersion,
    fields::{FieldReader, RawObject},
    parse::id_fault,
};

/// What a line asks for.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly every line is a listing")]
pub enum IngestLine {
    /// Store this listing.
    Upsert(Listing),
    /// Delete one.
    Delete(Deletion),
}

/// `{"delete":"id","version":8}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// The listing's id.
    pub id: String,
    /// How new the deletion is: `version` and `updatedAt`, either of which may be absent.
    pub version: ListingVersion,
}

impl IngestLine {
    /// Understands one line.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub fn parse(line: &[u8]) -> Result<Self, Vec<FieldError>> {
        match deletion(line) {
            Some(deletion) => deletion.map(Self::Delete),
            None => Listing::parse(line).map(Self::Upsert),
        }
    }

    /// Understands one line of a feed of this format. Deletions are written alike in all of them.
    ///
    /// # Errors
    /// What is wrong with it, by the names that the format has.
    pub fn parse_as(format: ListingFormat, line: &[u8]) -> Result<Self, Vec<FieldError>> {
        match format {
            ListingFormat::Native => Self::parse(line),
            ListingFormat::Reso => super::reso::parse(line),
        }
    }
}

/// `None` when the line is no deletion.
fn deletion(line: &[u8]) -> Option<Result<Deletion, Vec<FieldError>>> {
    let object = RawObject::parse(std::str::from_utf8(line).ok()?).ok()?;
    object.get("delete")?;
    let mut reader = FieldReader::new(object, "");
    let id = reader.text("delete", super::ID_CHARS_MAX);
    if let Some(fault) = id.as_deref().and_then(id_fault) {
        reader.fail("delete", fault);
    }
    let version = ListingVersion {
        version: reader.whole("version", "a whole number of at least 0"),
        updated_at_us: reader.timestamp("updatedAt"),
    };
    let (_, errors) = reader.into_parts();
    Some(match id {
        Some(id) if errors.is_empty() => Ok(Deletion { id, version }),
        _ => Err(errors),
    })
}
