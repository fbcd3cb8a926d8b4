//! What is offered: property types with their sizes and relative prices, and the words for deals,
//! states and amenities.

/// A property type and how it differs from a flat.
#[derive(Debug)]
pub(super) struct Property {
    /// The word in listings.
    pub(super) name: &'static str,
    /// The position of its word in every language's table.
    pub(super) word: usize,
    /// How often it is for sale, to rent, and in an auction.
    pub(super) weights: [u64; 3],
    /// Its median size in square metres.
    pub(super) sq_meters: f64,
    /// The spread of the sizes' logarithm.
    pub(super) spread: f64,
    /// Price per square metre relative to a flat's.
    pub(super) price: f64,
    /// Whether people live in it (rooms, bedrooms, bathrooms).
    pub(super) dwelling: bool,
    /// Whether it lies on one floor of a building.
    pub(super) on_floor: bool,
}

const fn property(
    name: &'static str,
    word: usize,
    weights: [u64; 3],
    (sq_meters, spread, price): (f64, f64, f64),
    (dwelling, on_floor): (bool, bool),
) -> Property {
    Property { name, word, weights, sq_meters, spread, price, dwelling, on_floor }
}

/// All property types of the interface.
pub(super) static PROPERTIES: [Property; 11] = [
    property("apartment", 0, [550, 600, 600], (80.0, 0.35, 1.0), (true, true)),
    property("house", 1, [140, 60, 150], (140.0, 0.40, 0.85), (true, false)),
    property("villa", 2, [60, 20, 40], (240.0, 0.45, 1.25), (true, false)),
    property("penthouse", 3, [40, 20, 10], (130.0, 0.35, 1.45), (true, true)),
    property("studio", 4, [60, 160, 30], (34.0, 0.20, 1.15), (true, true)),
    property("loft", 5, [30, 40, 10], (95.0, 0.35, 1.10), (true, true)),
    property("commercial", 6, [30, 30, 70], (110.0, 0.60, 0.75), (false, false)),
    property("land", 7, [30, 0, 40], (900.0, 0.90, 0.09), (false, false)),
    property("garage", 8, [30, 20, 20], (17.0, 0.25, 0.55), (false, false)),
    property("office", 9, [20, 40, 20], (130.0, 0.60, 0.80), (false, true)),
    property("warehouse", 10, [10, 10, 10], (600.0, 0.70, 0.30), (false, false)),
];

/// The kinds of deal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// For sale.
    Sale,
    /// To rent, at a price per [`RENT_PERIODS`].
    Rent,
    /// Sold in an auction.
    Auction,
}

/// The deals and their shares in a thousand.
pub(super) const DEALS: [(Deal, u64); 3] =
    [(Deal::Sale, 620), (Deal::Rent, 350), (Deal::Auction, 30)];

impl Deal {
    /// The word in listings.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sale => "sale",
            Self::Rent => "rent",
            Self::Auction => "auction",
        }
    }

    /// The weight of a property type in this deal.
    pub(super) const fn weight(self, property: &Property) -> u64 {
        let [sale, rent, auction] = property.weights;
        match self {
            Self::Sale => sale,
            Self::Rent => rent,
            Self::Auction => auction,
        }
    }

    /// The states and their shares in a thousand.
    pub(super) const fn statuses(self) -> [(&'static str, u64); 7] {
        let closed = match self {
            Self::Rent => "rented",
            Self::Sale | Self::Auction => "sold",
        };
        [
            ("active", 872),
            ("under_offer", 40),
            (closed, 48),
            ("draft", 10),
            ("pending_review", 8),
            ("expired", 12),
            ("withdrawn", 10),
        ]
    }
}

/// How a rent is quoted.
#[derive(Debug)]
pub(super) struct Period {
    /// The word in listings.
    pub(super) name: &'static str,
    /// Its share in a thousand.
    pub(super) weight: u64,
    /// The rent relative to a month's.
    pub(super) of_month: f64,
    /// To what a quoted rent is rounded.
    pub(super) step: f64,
}

/// All rent periods.
pub(super) static RENT_PERIODS: [Period; 4] = [
    Period { name: "month", weight: 680, of_month: 1.0, step: 10.0 },
    Period { name: "week", weight: 70, of_month: 0.38, step: 5.0 },
    Period { name: "night", weight: 220, of_month: 0.085, step: 1.0 },
    Period { name: "2_nights", weight: 30, of_month: 0.16, step: 0.01 },
];

/// Amenities of dwellings in alphabetical order, with how many of a thousand have them.
pub(super) const AMENITIES: [(&str, u64); 24] = [
    ("air_conditioning", 340),
    ("balcony", 420),
    ("dishwasher", 260),
    ("doorman", 90),
    ("elevator", 560),
    ("ev_charger", 30),
    ("fireplace", 60),
    ("furnished", 230),
    ("garden", 150),
    ("gym", 25),
    ("heating", 610),
    ("hot_tub", 15),
    ("kitchen", 380),
    ("parking", 310),
    ("pets_allowed", 180),
    ("pool", 60),
    ("sauna", 12),
    ("sea_view", 20),
    ("security", 110),
    ("storage_room", 300),
    ("terrace", 240),
    ("washer", 290),
    ("wheelchair_accessible", 70),
    ("wifi", 250),
];

/// Energy classes with their weights.
pub(super) const ENERGY_RATINGS: [(&str, u64); 7] =
    [("A", 110), ("B", 120), ("C", 160), ("D", 190), ("E", 170), ("F", 120), ("G", 130)];

/// Where a platform has its listings from, with weights.
pub(super) const SOURCES: [(&str, u64); 4] =
    [("agency-feed", 610), ("crm-import", 200), ("portal", 110), ("owner", 80)];
