//! The fields that are searched, and what a match in them is worth.

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// The title, in all languages.
    Title,
    /// The city and the neighbourhood.
    Place,
    /// The description, in all languages.
    Description,
}

/// How many there are.
pub(super) const FIELDS: usize = Field::ALL.len();

impl Field {
    pub(super) const ALL: [Self; 3] = [Self::Title, Self::Place, Self::Description];

    /// What a word in it is worth.
    pub(super) const fn weight(self) -> u8 {
        match self {
            Self::Title => 3,
            Self::Place => 2,
            Self::Description => 1,
        }
    }
}

/// How near a word is to the one looked for, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nearness {
    /// It is that word.
    Same,
    /// It begins with it.
    Longer,
    /// It, or its beginning, is one typo away.
    OneTypo,
    /// Two typos.
    TwoTypos,
}

impl Nearness {
    /// What a field's weight is multiplied with. A word without a typo is worth more in any field
    /// than one with a typo in any other.
    pub(super) const fn factor(self) -> u8 {
        match self {
            Self::Same => 8,
            Self::Longer => 7,
            Self::OneTypo => 2,
            Self::TwoTypos => 1,
        }
    }
}
