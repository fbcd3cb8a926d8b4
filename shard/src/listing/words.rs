//! The closed vocabularies of a listing.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A closed set of words.
pub trait Word: Copy + Sized + 'static {
    /// All of them, in the order of the documentation.
    const ALL: &'static [Self];

    /// The word as JSON has it.
    fn as_str(self) -> &'static str;

    /// The value of a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|value| value.as_str() == word)
    }
}

/// How a feed writes its listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ListingFormat {
    /// As this mesh gives them back.
    #[default]
    Native,
    /// As records of the RESO Data Dictionary 2.0.
    Reso,
}

impl Word for ListingFormat {
    const ALL: &'static [Self] = &[Self::Native, Self::Reso];

    fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Reso => "reso",
        }
    }
}

/// What is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListingType {
    /// For sale.
    Sale,
    /// To let.
    Rent,
    /// By auction.
    Auction,
}

impl Word for ListingType {
    const ALL: &'static [Self] = &[Self::Sale, Self::Rent, Self::Auction];

    fn as_str(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Rent => "rent",
            Self::Auction => "auction",
        }
    }
}

/// The kind of property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum PropertyType {
    Apartment,
    House,
    Villa,
    Penthouse,
    Studio,
    Loft,
    Commercial,
    Land,
    Garage,
    Office,
    Warehouse,
}

impl Word for PropertyType {
    const ALL: &'static [Self] = &[
        Self::Apartment,
        Self::House,
        Self::Villa,
        Self::Penthouse,
        Self::Studio,
        Self::Loft,
        Self::Commercial,
        Self::Land,
        Self::Garage,
        Self::Office,
        Self::Warehouse,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Apartment => "apartment",
            Self::House => "house",
            Self::Villa => "villa",
            Self::Penthouse => "penthouse",
            Self::Studio => "studio",
            Self::Loft => "loft",
            Self::Commercial => "commercial",
            Self::Land => "land",
            Self::Garage => "garage",
            Self::Office => "office",
            Self::Warehouse => "warehouse",
        }
    }
}

/// Where a listing stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words say it")]
pub enum Status {
    Draft,
    PendingReview,
    Active,
    UnderOffer,
    Sold,
    Rented,
    Expired,
    Withdrawn,
}

impl Status {
    /// Whether a lookup by id shows it.
    #[must_use]
    pub const fn is_public(self) -> bool {
        !matches!(self, Self::Draft | Self::PendingReview)
    }
}

impl Word for Status {
    const ALL: &'static [Self] = &[
        Self::Draft,
        Self::PendingReview,
        Self::Active,
        Self::UnderOffer,
        Self::Sold,
        Self::Rented,
        Self::Expired,
        Self::Withdrawn,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::PendingReview => "pending_review",
            Self::Active => "active",
            Self::UnderOffer => "under_offer",
            Self::Sold => "sold",
            Self::Rented => "rented",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// What a rent is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Period {
    /// One night.
    #[serde(rename = "night")]
    Night,
    /// Two nights.
    #[serde(rename = "2_nights")]
    TwoNights,
    /// A week.
    #[serde(rename = "week")]
    Week,
    /// A month.
    #[serde(rename = "month")]
    Month,
}

impl Word for Period {
    const ALL: &'static [Self] = &[Self::Night, Self::TwoNights, Self::Week, Self::Month];

    fn as_str(self) -> &'static str {
        match self {
            Self::Night => "night",
            Self::TwoNights => "2_nights",
            Self::Week => "week",
            Self::Month => "month",
        }
    }
}

/// A currency: ISO 4217, three upper-case letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The currency of a code, if it is written like one.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        match code.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Some(Self([a, b, c])),
            _ => None,
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::from_code(&code).ok_or_else(|| de::Error::custom("not a currency"))
    }
}
