//! The tree that both forms of a request become before they are checked.

use serde_json::value::RawValue;

use crate::listing::fields::RawObject;

/// Deeper than any request is; what is deeper is refused where it stands.
const DEPTH_MAX: usize = 8;

/// One value of a request. Numbers keep their text, so that `1e999` is a problem of its field and
/// not of the whole body.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Self>),
    Object(Vec<(String, Self)>),
    /// The values of one query parameter: of whatever type the reader asks for.
    Words(Vec<String>),
    /// A value nested deeper than [`DEPTH_MAX`].
    TooDeep,
}

impl Node {
    /// Reads a JSON text; the error says why it is none.
    pub(super) fn from_json(body: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
        // Checks the syntax of all of it; what follows only takes valid pieces apart.
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Self::from_valid(whole.get(), 0)
    }

    fn from_valid(json: &str, depth: usize) -> Result<Self, String> {
        let message = |error: serde_json::Error| error.to_string();
        if depth > DEPTH_MAX {
            return Ok(Self::TooDeep);
        }
        Ok(match json.as_bytes().first() {
            Some(b'{') => {
                let object = RawObject::parse(json)?;
                let members = object.0.into_iter().map(|(name, value)| {
                    Ok::<_, String>((name, Self::from_valid(value.get(), depth + 1)?))
                });
                Self::Object(members.collect::<Result<_, _>>()?)
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(json).map_err(message)?;
                let items = items.into_iter().map(|item| Self::from_valid(item.get(), depth + 1));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Some(b'"') => Self::Text(serde_json::from_str(json).map_err(message)?),
            Some(b't') => Self::Bool(true),
            Some(b'f') => Self::Bool(false),
            Some(b'n') => Self::Null,
            _ => Self::Number(json.to_owned()),
        })
    }

    /// What the value is, for messages.
    pub(super) fn describe(&self) -> String {
        let (kind, text) = match self {
            Self::Null => return "null".to_owned(),
            Self::List(_) => return "a list".to_owned(),
            Self::Object(_) => return "an object".to_owned(),
            Self::TooDeep => return "something nested this deeply".to_owned(),
            Self::Bool(value) => return value.to_string(),
            Self::Number(text) => ("", text.as_str()),
            Self::Text(text) => ("the text ", text.as_str()),
            Self::Words(words) => match words.as_slice() {
                [word] => ("", word.as_str()),
                _ => return format!("{} values", words.len()),
            },
        };
        let shown: String = text.chars().take(40).collect();
        let more = if text.chars().nth(40).is_some() { "…" } else { "" };
        format!("{kind}`{shown}{more}`")
    }
}
